"""LiteLLM's tables as accounts, keys and spend."""

import hashlib
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gatewayctl.migration.litellm_columns import (
    BUDGETS,
    KEYS,
    KINDS,
    MODELS,
    ORGANIZATIONS,
    TABLES,
    TEAMS,
    USERS,
)
from gatewayctl.migration.litellm_config import LiteLLMConfig
from gatewayctl.migration.litellm_tables import read_tables
from gatewayctl.migration.plan import MigrationPlan
from gatewayctl.migration.table_files import read_tables_of

DUMP = Path(__file__).parents[3] / "support/litellm/dump.sql"
# Found without importing it, which takes seconds.
LITELLM = find_spec("litellm")
assert LITELLM is not None
assert LITELLM.origin is not None
SCHEMA = Path(LITELLM.origin).parent / "proxy/schema.prisma"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RESEARCH = "7e5e2c5e-8a32-4b35-9c8a-0c6f1b7a1d11"
# Of the rules of a kind of object, those of `read_tables`.
KIND_OF = {
    TEAMS: "team", USERS: "user", KEYS: "key", BUDGETS: "budget",
    ORGANIZATIONS: "organization", MODELS: "model",
}  # fmt: skip
SCALARS = {"String", "Float", "BigInt", "Int", "Boolean", "DateTime", "Json"}


def sha(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def plan_of(**tables: list[dict[str, Any]]) -> MigrationPlan:
    config = LiteLLMConfig(allowed={"beta": ("x", "y")}, time_zone="Europe/Berlin")
    return read_tables({KEYS: [], **tables}, NOW, config)


def key(**columns: Any) -> MigrationPlan:
    row = {"token": sha("sk-1"), "user_id": "u", **columns}
    return plan_of(**{KEYS: [row], USERS: [{"user_id": "u"}]})


def test_a_dump_as_accounts_keys_and_spend() -> None:
    tables = read_tables_of(DUMP, TABLES)
    config = LiteLLMConfig(allowed={"beta-models": ("smart", "house")})
    plan = read_tables(tables.rows, NOW, config, also=tables.others)
    accounts = {account["user_id"]: account for account in plan.accounts}
    assert accounts[RESEARCH] == {
        "user_id": RESEARCH,
        "name": 'Forschung \N{EN DASH} Gruppe "Ω"',
        "budgets": [{"limit_usd": 100, "period": "monthly", "soft_limit_usd": 80}],
        "limits": {
            "requests_per_minute": 600, "tokens_per_minute": 100_000, "parallel_calls": 20,
        },
        "metadata": {
            "migrated_from": f"litellm team {RESEARCH}",
            "organization": "Forschung & Lehre",
            "cost-center": "4711",
        },
    }  # fmt: skip
    assert accounts["team-blocked"]["status"] == "suspended"
    assert accounts["team-blocked"]["budgets"][0]["limit_usd"] == 0
    assert accounts["ada"]["budgets"] == [{"limit_usd": 10, "period": "daily"}]
    (cleaned_id,) = [name for name in accounts if name.startswith("grace-hopper-")]
    assert re.fullmatch(r"grace-hopper-[0-9a-f]{12}", cleaned_id)
    keys = {each["name"]: each for each in plan.keys}
    assert set(keys) == {"research-ci", "research-claude", "sk-...77aa", "legacy", "nobody"}
    assert keys["research-ci"] == {
        "user_id": RESEARCH,
        "key_sha256": sha("sk-research-4f1c2a"),
        "name": "research-ci",
        "budgets": [{"limit_usd": Decimal("17.66"), "period": "total"}],
        "limits": {"requests_per_minute": 120},
        "allowed_models": ["smart"],
    }
    shared = keys["research-claude"]
    assert shared["budgets"] == [{"limit_usd": Decimal("2.5"), "period": "daily"}]
    assert shared["expires_at"] == "2031-01-01T00:00:00+00:00"
    assert "allowed_models" not in shared
    # Its team is allowed `smart`, and the group's models.
    assert keys["legacy"]["allowed_models"] == ["smart"]
    assert {(each.user_id, each.amount_usd) for each in plan.spends} == {
        (RESEARCH, Decimal("12.34")),
        ("ada", Decimal("0.75")),
        ("litellm-keys", Decimal("0.5")),
    }
    assert {line.kind for line in plan.lines if line.subject == "table"} == {
        "LiteLLM_EndUserTable", "LiteLLM_TeamMembership",
    }  # fmt: skip


def columns_of(table: str) -> dict[str, str]:
    """Of LiteLLM's own schema, with their types."""
    match = re.search(rf"^model {table} \{{(.*?)^\}}", SCHEMA.read_text(), re.MULTILINE | re.DOTALL)
    assert match is not None
    lines = [line.split() for line in match[1].splitlines()]
    columns = [(parts[0], parts[1]) for parts in lines if len(parts) > 1]
    return {name: kind for name, kind in columns if re.sub(r"\W", "", kind) in SCALARS}


VALUES = {
    "String": "text", "Float": "1.5", "BigInt": "7", "Int": "7", "Boolean": "t",
    "DateTime": "2031-01-01 00:00:00", "Json": '{"a": "b"}',
}  # fmt: skip


def filled(table: str, **values: str) -> dict[str, str]:
    """A row with a value in every column."""
    row = {
        name: "{x}" if kind.endswith("[]") else VALUES[re.sub(r"\W", "", kind)]
        for name, kind in columns_of(table).items()
    }
    return {**row, **values}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("blocked", ["f", "t"])
def test_every_column_of_every_table_is_reported_once(table: str, blocked: str) -> None:
    row = filled(table, budget_id="text")
    if "blocked" in row:
        row["blocked"] = blocked
    if table == KEYS:
        row["token"] = sha("sk-1")
    elif "budget_id" not in columns_of(table):
        del row["budget_id"]
    kind = KIND_OF[table]
    plan = plan_of(**{table: [row]})
    counts = Counter(line.kind for line in plan.lines if line.kind != "key.account")
    expected = {f"{kind}.{name}" for name in row if row[name] != "f"}
    if f"{kind}.metadata" in expected and f"{kind}.metadata" not in counts:
        expected = expected - {f"{kind}.metadata"} | {f"{kind}.metadata.a"}
    assert set(counts) == expected
    assert set(counts.values()) == {1}, counts


def test_columns_are_read_as_what_the_schema_says() -> None:
    kinds = {
        "Float": "number", "BigInt": "number", "Int": "number", "Boolean": "flag",
        "DateTime": "time", "Json": "json",
    }  # fmt: skip
    for table in TABLES:
        for name, kind in columns_of(table).items():
            expected = "list" if kind.endswith("[]") else kinds.get(re.sub(r"\W", "", kind), "text")
            assert KINDS[table].get(name, "text") == expected or name == "model_id", (table, name)


def test_an_unknown_column_is_reported() -> None:
    plan = key(tomorrow="x")
    assert [line.verdict for line in plan.lines if line.kind == "key.tomorrow"] == ["cannot"]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"token": "no hash"}, "is not a SHA-256"),
        ({"token": None}, "is not a SHA-256"),
        ({"token": sha("sk-1").upper()}, "is not a SHA-256"),
        ({"expires": "2026-11-24 12:00:00"}, "has expired"),
        ({"expires": "someday"}, "cannot be read"),
        ({"blocked": "t"}, "is blocked"),
        ({"blocked": "yes"}, "is blocked"),
        ({"team_id": "litellm-dashboard"}, "LiteLLM's own pages"),
    ],
)
def test_a_key_that_is_not_carried_is_reported_with_the_reason(
    columns: dict[str, Any], why: str
) -> None:
    plan = key(**columns)
    assert plan.keys == []
    assert all(why in line.note for line in plan.lines if line.kind.startswith("key."))


def test_a_plain_secret_of_old_versions_is_hashed_and_never_shown() -> None:
    plan = key(token="sk-plain-of-long-ago")
    assert plan.keys[0]["key_sha256"] == sha("sk-plain-of-long-ago")
    assert "sk-plain-of-long-ago" not in repr(plan)


@pytest.mark.parametrize(
    ("columns", "budget"),
    [
        ({"max_budget": "5"}, (5, "total")),
        ({"max_budget": "5", "spend": "2"}, (3, "total")),
        ({"max_budget": "5", "spend": "7"}, (0, "total")),
        ({"max_budget": "0"}, (0, "total")),
        ({"max_budget": "-3"}, (0, "total")),
        ({"max_budget": "1e300"}, (Decimal("9007199.254740991"), "total")),
        ({"max_budget": "0.1234567891"}, (Decimal("0.123456789"), "total")),
        ({"max_budget": "5", "budget_duration": "24h", "spend": "2"}, (5, "daily")),
        ({"max_budget": "5", "budget_duration": "1h"}, (5, "daily")),
        ({"max_budget": "5", "budget_duration": "14d"}, (5, "monthly")),
        ({"max_budget": "5", "budget_duration": "1mo"}, (5, "monthly")),
        ({"max_budget": "60", "budget_duration": "60d"}, (30, "monthly")),
        ({"max_budget": "5", "budget_duration": "whenever"}, (5, "total")),
        ({"max_budget": "NaN"}, None),
        ({"max_budget": "Infinity"}, None),
        ({"budget_duration": "30d"}, None),
    ],
)
def test_budgets_never_let_more_be_spent(columns: dict[str, Any], budget: Any) -> None:
    (body,) = key(**columns).keys
    budgets = body.get("budgets")
    assert budget == (None if budgets is None else (budgets[0]["limit_usd"], budgets[0]["period"]))


@pytest.mark.parametrize(
    ("team", "own", "allowed"),
    [
        ("{}", "{}", None),
        ("{}", "{a,b}", ["a", "b"]),
        ("{a,b}", "{}", ["a", "b"]),
        ("{a,b}", "{all-team-models}", ["a", "b"]),
        ("{all-proxy-models}", "{b}", ["b"]),
        ("{a,b}", "{b,c}", ["b"]),
        ("{a}", "{b}", ["no-default-models"]),
        ("{openai/*}", "{openai/x,y}", ["openai/x"]),
        ("{beta}", "{}", ["x", "y"]),
        # Of other programs' files: never every model.
        ("{a,b}", '["a"]', ["no-default-models"]),
        ("{}", '["a"]', ["no-default-models"]),
        ('["a"]', "{}", ["no-default-models"]),
        ("{}", "{" + "x" * 257 + "}", ["no-default-models"]),
        ('{"a,1","b \\"q\\""}', "{}", ["a,1", 'b "q"']),
    ],
)
def test_a_key_is_allowed_what_both_allow(team: str, own: str, allowed: Any) -> None:
    row = {"token": sha("sk-1"), "team_id": "t", "models": own}
    plan = plan_of(**{KEYS: [row], TEAMS: [{"team_id": "t", "models": team}]})
    assert plan.keys[0].get("allowed_models") == allowed


def test_ids_that_are_the_same_or_cannot_be_one_become_others() -> None:
    plan = plan_of(
        **{
            TEAMS: [{"team_id": "x"}, {"team_id": "ä/ö"}, {"team_id": "ä|ö"}, {"team_id": "x"}],
            USERS: [{"user_id": "x"}, {"user_id": "y" * 300}, {"user_id": ""}],
        }
    )
    ids = [account["user_id"] for account in plan.accounts]
    assert len(ids) == len(set(ids)) == 5
    assert "user:x" in ids
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}", each) for each in ids)
    assert any("appears twice" in line.note for line in plan.lines)


def test_duplicate_aliases_are_two_keys() -> None:
    rows = [{"token": sha(f"sk-{n}"), "key_alias": "same", "user_id": "u"} for n in (1, 2)]
    plan = plan_of(**{KEYS: [*rows, rows[0]]})
    assert [each["name"] for each in plan.keys] == ["same", "same"]
    assert any("appears twice in the source" in line.note for line in plan.lines)


def test_accounts_have_the_time_zone_of_the_budgets() -> None:
    (account,) = key().accounts
    assert account["time_zone"] == "Europe/Berlin"
    (account,) = plan_of(**{KEYS: [{"token": sha("sk-1")}]}).accounts
    assert account["time_zone"] == "Europe/Berlin"
