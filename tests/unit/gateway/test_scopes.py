"""Scopes: which budgets and rates limit a call, and what a client reads of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BudgetExceeded, RateLimit, RateLimited, TooManyTokens
from libs.common.schemas.account import Budget, BudgetPeriod, Limits
from libs.common.schemas.holds import (
    Admitted,
    Limited,
    LimitScope,
    OverBudget,
    PeriodLimit,
    Standing,
    Window,
)
from services.gateway.admission.scopes import (
    CurrentScopes,
    budget_error,
    budgets_now,
    limit_error,
    scopes_of,
    tightest_limits,
    warnings,
)
from services.gateway.calls.principal import Principal
from tests.unit.builders import account, api_key

AT = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
TOTAL = Budget(limit_nusd=2_000_000_000, period="total", soft_limit_nusd=1_000_000_000)
DAILY = Budget(limit_nusd=500, period="daily")
ZERO = Budget(limit_nusd=0, period="weekly", soft_limit_nusd=0)


def principal(key: dict[str, Any] | None = None, **fields: Any) -> Principal:
    return Principal(api_key(**(key or {})), account(**fields))


def test_an_account_and_a_key_without_limits_make_one_empty_scope() -> None:
    caller = principal()
    assert scopes_of(caller, budgets_now(caller, AT)) == [LimitScope()]


def test_a_key_with_limits_has_a_scope_inside_its_accounts() -> None:
    caller = principal(
        {"budgets": (DAILY,), "limits": Limits(parallel_calls=0)},
        budgets=(TOTAL, DAILY),
        limits=Limits(requests_per_minute=5, tokens_per_minute=9),
        time_zone="Asia/Kathmandu",
    )
    # In Kathmandu it is a quarter past midnight.
    today = PeriodLimit("2026-11-25", 500)
    assert scopes_of(caller, budgets_now(caller, AT)) == [
        LimitScope(requests=5, tokens=9, budgets=(PeriodLimit("total", 2_000_000_000), today)),
        LimitScope(key_id="key-1", parallel=0, budgets=(today,)),
    ]


@pytest.mark.parametrize("limits", [Limits(requests_per_minute=0), Limits(tokens_per_minute=1)])
def test_a_key_with_a_rate_alone_has_a_scope(limits: Limits) -> None:
    caller = principal({"limits": limits})
    assert len(scopes_of(caller, budgets_now(caller, AT))) == 2


def test_a_refusal_states_the_budget_and_its_end() -> None:
    caller = principal({"budgets": (DAILY,)}, budgets=(TOTAL,), time_zone="Asia/Kathmandu")
    budgets = budgets_now(caller, AT)
    refusal = OverBudget(LimitScope(key_id="key-1"), PeriodLimit("2026-11-25", 500), 300, 100)
    error = budget_error(refusal, budgets, caller, 101)
    assert isinstance(error, BudgetExceeded)
    for part in (
        "this API key",
        "limit 0.0000005 USD",
        "spent 0.0000003",
        "under way 0.0000001",
        "up to 0.000000101",
        "ends at 2026-11-25T18:15:00+00:00",
    ):
        assert part in error.message
    account_error = budget_error(
        OverBudget(LimitScope(), PeriodLimit("total", 2_000_000_000), 0, 0), budgets, caller, 1
    )
    assert "account 'acme'" in account_error.message
    assert "has no end" in account_error.message


def test_a_limit_lowered_for_redis_is_reported_unlowered() -> None:
    caller = principal(budgets=(DAILY,))
    refusal = OverBudget(LimitScope(), PeriodLimit("2026-11-24", 500 - 40), 300, 100)
    message = budget_error(refusal, budgets_now(caller, AT), caller, 1).message
    assert "limit 0.0000005 USD" in message
    assert "under way 0.00000014" in message


@pytest.mark.parametrize(
    ("kind", "wait_ms", "retry_after_s"),
    [("requests", 1, 1), ("requests", 1_000, 1), ("tokens", 1_001, 2), ("parallel", 60_000, 60)],
)
def test_a_wait_is_rounded_up_to_whole_seconds(kind: Any, wait_ms: int, retry_after_s: int) -> None:
    scope = LimitScope(requests=10, tokens=10, parallel=10)
    error = limit_error(Limited(scope, kind, 7, wait_ms), tokens=10)
    assert type(error) is RateLimited
    assert error.retry_after_s == retry_after_s
    assert "the account may have 10" in error.message
    assert "7 are used" in error.message


def test_a_call_that_can_never_fit_gets_no_wait() -> None:
    error = limit_error(Limited(LimitScope(key_id="k", tokens=10), "tokens", 0, 500), tokens=11)
    assert type(error) is TooManyTokens
    assert (error.retry_after_s, error.should_retry) == (None, False)
    assert "this API key may use 10 per minute" in error.message


@pytest.mark.parametrize(("spent", "held", "warns"), [(999_999_999, 0, 0), (999_999_999, 1, 1)])
def test_a_soft_limit_warns_when_it_is_reached(spent: int, held: int, warns: int) -> None:
    caller = principal({"budgets": (ZERO,)}, budgets=(TOTAL, DAILY))
    standings = (Standing(spent, held), Standing(10**12, 0), Standing(0, 0))
    lines = list(warnings(budgets_now(caller, AT), Admitted(0, (), standings)))
    # A soft limit of zero is always reached.
    assert lines[-1] == "key budget '2026-W48': 0 of 0 USD used"
    assert len(lines) == 1 + warns
    if warns:
        assert lines[0] == "account budget 'total': 1 of 2 USD used"


def test_the_tightest_scope_is_the_one_with_the_least_room() -> None:
    free, two = LimitScope(), LimitScope(requests=9, tokens=100)
    key = LimitScope(key_id="k", requests=3)
    nothing, wide, narrow = Window(0, 0, 0, 0), Window(5, 1, 50, 1), Window(2, 1, 0, 1)
    keys = (RateLimit("requests", 3, 2, 1),)
    assert tightest_limits([free], (nothing,)) == ()
    assert tightest_limits([free, key], (nothing, narrow)) == keys
    assert tightest_limits([two, key], (wide, narrow)) == keys
    # With as many requests left, tokens decide; no limit of them is more than any.
    assert tightest_limits([two, key], (Window(2, 1, 50, 7), narrow)) == (
        RateLimit("requests", 9, 2, 1),
        RateLimit("tokens", 100, 50, 7),
    )
    assert tightest_limits([LimitScope(tokens=9), key], (Window(0, 0, 1, 1), narrow)) == keys


@pytest.mark.parametrize(
    ("kind", "used", "limits"),
    [
        ("requests", 9, (RateLimit("requests", 9, 0, 500),)),
        ("tokens", 60, (RateLimit("tokens", 100, 40, 500),)),
        ("tokens", 160, (RateLimit("tokens", 100, 0, 500),)),
        ("parallel", 1, ()),
    ],
)
@pytest.mark.parametrize("tokens", [1, 101])
def test_a_refusal_carries_the_limit_that_is_reached(
    kind: Any, used: int, limits: tuple[RateLimit, ...], tokens: int
) -> None:
    scope = LimitScope(requests=9, tokens=100, parallel=1)
    assert limit_error(Limited(scope, kind, used, 500), tokens).limits == limits


# Summer time ends and begins around midnight in some of them.
ZONES = ("UTC", "Asia/Kathmandu", "America/Havana", "America/Santiago", "Asia/Beirut")
PERIODS: tuple[BudgetPeriod, ...] = ("total", "monthly", "weekly", "daily")


@given(
    zone=st.sampled_from(ZONES),
    periods=st.lists(st.sampled_from(PERIODS), max_size=2),
    starts=st.lists(st.integers(0, 400 * 24 * 60), min_size=2, max_size=8),
)
def test_kept_scopes_are_those_of_the_time(
    zone: str, periods: list[BudgetPeriod], starts: list[int]
) -> None:
    budgets = tuple(Budget(limit_nusd=5, period=period) for period in periods)
    caller = principal({"budgets": budgets}, budgets=budgets, time_zone=zone)
    current = CurrentScopes()
    for minutes in starts:
        at = AT + timedelta(minutes=minutes)
        now = current.of(caller, at)
        expected = budgets_now(caller, at)
        assert now.scopes == scopes_of(caller, expected)
        assert [b.period for b in now.budgets] == [b.period for b in expected]
        assert [b.ends_at() for b in now.budgets] == [b.ends_at() for b in expected]
        assert [b.days() for b in now.budgets] == [b.days() for b in expected]


def test_scopes_are_kept_until_the_period_ends() -> None:
    caller = principal(budgets=(DAILY,))
    current = CurrentScopes()
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    first = current.of(caller, AT)
    assert current.of(caller, midnight - timedelta(milliseconds=1)) is first
    assert current.of(caller, midnight).budgets[0].period == "2026-11-25"


def test_a_replaced_account_or_key_has_new_scopes() -> None:
    caller = principal(budgets=(DAILY,))
    current = CurrentScopes()
    assert current.of(caller, AT).scopes == [LimitScope(budgets=(PeriodLimit("2026-11-24", 500),))]
    new_account = msgspec.structs.replace(caller.account, budgets=())
    assert current.of(Principal(caller.key, new_account), AT).scopes == [LimitScope()]
    limited_key = msgspec.structs.replace(caller.key, limits=Limits(parallel_calls=1))
    assert len(current.of(Principal(limited_key, new_account), AT).scopes) == 2


def test_kept_scopes_are_bounded() -> None:
    current = CurrentScopes(max_kept=3)
    for number in range(10):
        current.of(principal({"key_id": f"key-{number}"}), AT)
    assert len(current._cache) <= 3
