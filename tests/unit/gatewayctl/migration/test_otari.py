"""Otari's configuration and tables."""

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gatewayctl.documents import parse_document
from gatewayctl.errors import Misused
from gatewayctl.migration.otari import read_otari
from gatewayctl.migration.plan import MigrationPlan

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HASH = hashlib.sha256(b"gw-a-key").hexdigest()
CONFIG = """
master_key: sk-master
providers:
  openai: {api_key: sk-in-the-file}
  vertexai: {project: p, location: us-central1}
  home_lab:
    {provider_type: openai-compatible, api_base: "http://box:9000/v1", api_key: "${LAB_KEY}"}
pricing:
  openai:gpt-5: {input_price_per_million: 1.25, output_price_per_million: 10}
  home_lab:qwen3: {input_price_per_million: 0, output_price_per_million: 0}
  no-provider: {input_price_per_million: 0, output_price_per_million: 0}
aliases: {fast: openai:gpt-5, broken: nothing}
"""
USER = {"user_id": "ada", "alias": "Ada", "spend": "1.234567", "budget_id": "b", "blocked": "f"}
KEY = {"id": "k1", "key_hash": HASH, "key_name": "ci", "user_id": "ada", "is_active": "t"}
BUDGET = {"budget_id": "b", "max_budget": "10", "reset_alignment": "calendar_month"}


def plan_of(**tables: list[dict[str, Any]]) -> MigrationPlan:
    return read_otari(None, tables, NOW, ())


def test_a_configuration_as_routes_and_prices() -> None:
    plan = read_otari(parse_document(CONFIG.encode(), "config.yml"), {}, NOW, ())
    assert {route["model"]: route["deployments"] for route in plan.routes} == {
        "openai:gpt-5": [{"model": "openai/gpt-5", "credential": "env:OPENAI_API_KEY"}],
        "home_lab:qwen3": [
            {
                "model": "openai/qwen3",
                "credential": "env:LAB_KEY",
                "api_base": "http://box:9000/v1",
                "formats": ["chat", "embeddings"],
            }
        ],
        "fast": [{"model": "openai/gpt-5", "credential": "env:OPENAI_API_KEY"}],
    }
    assert [(cost["model"], cost["input_cost_per_million"]) for cost in plan.costs] == [
        ("gpt-5", Decimal("1.25")),
        ("qwen3", 0),
    ]
    assert "sk-in-the-file" not in repr(plan)
    assert "sk-master" not in repr(plan)
    dropped = {(line.kind, line.subject) for line in plan.lines if line.verdict == "cannot"}
    assert ("aliases.target", "broken") in dropped
    assert ("config.master_key", "config.yml") in dropped
    assert any(subject == "no-provider" for _, subject in dropped)


def test_each_secret_in_a_file_has_a_variable_of_its_own() -> None:
    text = """
providers:
  a-b: {provider_type: openai, api_key: sk-one, api_base: "http://box/v1"}
  a.b: {provider_type: openai, api_key: sk-two}
  other: {provider_type: openai, api_key: "${A_B_API_KEY}"}
aliases: {one: "a-b:m", two: "a.b:m", three: "other:m"}
"""
    plan = read_otari(parse_document(text.encode(), "config.yml"), {}, NOW, ())
    variables = [route["deployments"][0]["credential"] for route in plan.routes]
    assert variables == ["env:A_B_BOX_API_KEY", "env:A_B_API_KEY_2", "env:A_B_API_KEY"]
    verdicts = {(line.kind, line.subject): line.verdict for line in plan.lines}
    assert verdicts["providers.api_base", "a-b"] == "adapted"


def test_users_are_accounts_and_keys_keep_their_secrets() -> None:
    plan = plan_of(users=[USER], budgets=[BUDGET], api_keys=[KEY])
    assert plan.accounts == [
        {
            "user_id": "ada",
            "name": "Ada",
            "budgets": [{"limit_usd": 10, "period": "monthly"}],
            "metadata": {"migrated_from": "otari user ada"},
        }
    ]
    assert plan.keys == [{"user_id": "ada", "key_sha256": HASH, "name": "ci"}]
    assert [spend.amount_usd for spend in plan.spends] == [Decimal("1.234567")]


@pytest.mark.parametrize(
    ("own", "users", "allowed"),
    [
        (None, None, None),
        ("[]", None, ["no-default-models"]),
        (None, '["openai:*"]', ["openai:*"]),
        ("openai:gpt-5", None, ["no-default-models"]),
        (None, "{openai:*}", ["no-default-models"]),
        ('["openai:gpt-5"]', '["openai:*"]', ["openai:gpt-5"]),
    ],
)
def test_allowed_models(own: str | None, users: str | None, allowed: Any) -> None:
    plan = plan_of(
        users=[{**USER, "allowed_models": users}], api_keys=[{**KEY, "allowed_models": own}]
    )
    assert plan.keys[0].get("allowed_models") == allowed


def test_too_many_or_unreadable_models_are_reported() -> None:
    many = [f"openai:{i}" for i in range(257)]
    plan = plan_of(
        users=[USER],
        api_keys=[
            {**KEY, "allowed_models": json.dumps(many)},
            {**KEY, "id": "k2", "key_hash": "a" * 64, "allowed_models": "openai:*"},
        ],
    )
    assert plan.keys[0]["allowed_models"] == many[:256]
    notes = [line.note for line in plan.lines if line.kind == "key.allowed_models"]
    assert notes[0] == "the key is allowed the first 256 of them"
    assert notes[-1] == "is not a list of names: no model is allowed"


@pytest.mark.parametrize(
    "columns",
    [
        {"key_hash": "x"}, {"user_id": "nobody"}, {"is_active": "f"}, {"is_active": "no"},
        {"user_id": None}, {"expires_at": "2026-01-01 00:00:00+00"}, {"expires_at": "whenever"},
    ],
)  # fmt: skip
def test_a_key_that_is_not_carried_is_reported(columns: dict[str, Any]) -> None:
    plan = plan_of(users=[USER], api_keys=[{**KEY, **columns}])
    assert plan.keys == []
    assert any(line.kind.startswith("key.") for line in plan.lines)


def test_a_stored_price_replaces_the_files() -> None:
    row = {
        "model_key": "openai:gpt-5", "input_price_per_million": "2",
        "output_price_per_million": "8", "pricing_tiers": '[{"min_input_tokens": 5}]',
    }  # fmt: skip
    document = parse_document(CONFIG.encode(), "config.yml")
    plan = read_otari(document, {"model_pricing": [row]}, NOW, ())
    prices = {cost["model"]: cost["input_cost_per_million"] for cost in plan.costs}
    assert prices == {"qwen3": 0, "gpt-5": 2}
    assert ("cannot", "price.pricing_tiers") in {(each.verdict, each.kind) for each in plan.lines}


def test_a_file_that_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(Misused):
        read_otari(parse_document(b"- a", "config.yml"), {}, NOW, ())
