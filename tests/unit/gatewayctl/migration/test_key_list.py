"""A plain CSV of keys."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from gatewayctl.errors import Misused
from gatewayctl.migration.key_list import COLUMNS, read_keys
from gatewayctl.migration.plan import MigrationPlan

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECRET = "sk-a-secret-of-clients"
HASH = hashlib.sha256(SECRET.encode()).hexdigest()


def plan_of(*rows: dict[str, Any]) -> MigrationPlan:
    return read_keys([dict.fromkeys(COLUMNS) | row for row in rows], "keys.csv", NOW)


def test_a_row_is_a_key_of_its_account() -> None:
    row = {
        "user_id": "team-a",
        "secret": SECRET,
        "name": "ci",
        "allowed_models": "smart claude-*",
        "expires_at": "2027-01-01",
        "limit_usd": "12.50",
        "period": "monthly",
        "requests_per_minute": "60",
    }
    plan = plan_of(row, {"user_id": "team-a", "key_sha256": "A" * 64})
    assert plan.accounts == [{"user_id": "team-a"}]
    assert plan.keys == [
        {
            "user_id": "team-a",
            "key_sha256": HASH,
            "name": "ci",
            "allowed_models": ["smart", "claude-*"],
            "expires_at": "2027-01-01T00:00:00+00:00",
            "budgets": [{"limit_usd": 12.5, "period": "monthly"}],
            "limits": {"requests_per_minute": 60},
        },
        {"user_id": "team-a", "key_sha256": "a" * 64, "name": ""},
    ]
    assert SECRET not in repr(plan)
    assert {line.verdict for line in plan.lines} == {"carried", "adapted"}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"secret": SECRET}, "has no user_id"),
        ({"user_id": "a"}, "has no SHA-256"),
        ({"user_id": "a", "secret": "short"}, "has no SHA-256"),
        ({"user_id": "a", "key_sha256": "5"}, "has no SHA-256"),
        ({"user_id": "a", "secret": SECRET, "expires_at": "soon"}, "is not a time"),
        ({"user_id": "a", "secret": SECRET, "expires_at": "2026-01-01"}, "has expired"),
    ],
)
def test_a_row_without_a_valid_key_is_reported(row: dict[str, Any], why: str) -> None:
    plan = plan_of(row)
    assert plan.keys == []
    assert all(why in line.note for line in plan.lines)
    assert "short" not in repr(plan)


@pytest.mark.parametrize(
    "column", [{"limit_usd": "-1"}, {"limit_usd": "x"}, {"period": "yearly", "limit_usd": "1"},
               {"parallel_calls": "-1"}, {"team": "x"}],
)  # fmt: skip
def test_a_value_that_cannot_be_carried_is_reported(column: dict[str, Any]) -> None:
    plan = plan_of({"user_id": "a", "secret": SECRET, **column})
    (key,) = plan.keys
    assert set(key) == {"user_id", "key_sha256", "name"}
    kinds = {line.kind for line in plan.lines if line.verdict == "cannot"}
    assert {f"key.{name}" for name in column} == kinds
    unknown = [line.kind for line in plan.lines if line.note == "is not a column of a key"]
    assert unknown == (["key.team"] if "team" in column else [])


def test_the_same_secret_twice_is_one_key() -> None:
    plan = plan_of({"user_id": "a", "secret": SECRET}, {"user_id": "b", "key_sha256": HASH})
    assert len(plan.keys) == 1
    assert any("is there twice" in line.note for line in plan.lines)


def test_unknown_columns_are_refused_with_their_line() -> None:
    with pytest.raises(Misused) as raised:
        read_keys([{"key": "x"}], "keys.csv", NOW)
    assert "keys.csv:1" in raised.value.message
    assert read_keys([], "keys.csv", NOW).lines == []
