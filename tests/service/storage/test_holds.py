"""The contract of the scripts over an account's holds and budgets."""

import asyncio

import pytest
from redis.crc import key_slot

from libs.common.domain.money import MAX_NUSD
from libs.common.schemas.holds import (
    Admitted,
    Limited,
    LimitScope,
    OpenHold,
    OverBudget,
    PeriodLimit,
    Spent,
    Standing,
    Unseeded,
)
from libs.common.storage.redis.client import NoScriptError
from tests.service.storage.account import USER, AccountCalls

_KEPT = [":amounts", ":events", ":held", ":leases"]


def day(limit: int) -> PeriodLimit:
    return PeriodLimit("day", limit)


def total(limit: int) -> PeriodLimit:
    return PeriodLimit("total", limit)


def account(*budgets: PeriodLimit) -> LimitScope:
    return LimitScope(budgets=budgets)


def key(*budgets: PeriodLimit, key_id: str = "k1") -> LimitScope:
    return LimitScope(key_id=key_id, budgets=budgets)


async def test_an_account_without_a_budget_is_always_admitted(calls: AccountCalls) -> None:
    assert await calls.admitted("a", 70)
    assert await calls.admitted("b", 7)
    assert await calls.held() == 77
    assert await calls.holds.held("other") == 0
    assert await calls.holds.held_of_many([(USER, None), ("other", None)]) == [77, 0]


async def test_a_budget_is_filled_to_its_last_nano_usd_and_not_beyond(calls: AccountCalls) -> None:
    await calls.seed(day=40)
    scope, budget = account(day(100)), day(100)
    assert await calls.admitted("a", 50, budget)
    assert await calls.admit("b", 11, budget) == OverBudget(scope, budget, 40, 50)
    assert await calls.admitted("c", 10, budget)
    assert await calls.admit("d", 1, budget) == OverBudget(scope, budget, 40, 60)
    assert await calls.admitted("e", 0, budget)
    assert await calls.held() == 60


async def test_a_refused_call_leaves_nothing_behind(calls: AccountCalls) -> None:
    await calls.seed(day=0)
    before = await calls.keys()
    assert not await calls.admitted("a", 101, day(100))
    assert not await calls.admitted("b", 1, total(100))
    assert await calls.keys() == before


@pytest.mark.parametrize(
    ("first", "second", "refused_by"), [(10, 100, day), (100, 10, total), (10, 10, day)]
)
async def test_every_budget_must_have_room(
    calls: AccountCalls, first: int, second: int, refused_by: object
) -> None:
    await calls.seed(day=5, total=7)
    answer = await calls.admit("a", 20, day(first), total(second))
    assert isinstance(answer, OverBudget)
    assert answer.budget == (day(first) if refused_by is day else total(second))
    assert (answer.spent_nusd, answer.held_nusd) == (5 if refused_by is day else 7, 0)


async def test_an_admitted_call_gets_the_standing_of_its_budgets(calls: AccountCalls) -> None:
    await calls.holds.seed(
        USER,
        [
            Spent(period="day", nusd=5),
            Spent(period="total", nusd=7),
            Spent(key_id="k1", period="day", nusd=2),
        ],
    )
    await calls.admit("other key", 30)
    scopes = [account(day(100), total(1_000)), key(day(50))]
    answer = await calls.admit("a", 20, scopes=scopes)
    assert isinstance(answer, Admitted)
    assert answer.standings == (Standing(5, 50), Standing(7, 50), Standing(2, 20))


async def test_a_keys_budget_lies_inside_the_accounts(calls: AccountCalls) -> None:
    await calls.holds.seed(
        USER, [Spent(period="day", nusd=0)] + [Spent(key_id=k, period="day", nusd=0) for k in "12"]
    )

    async def refused_by(call_id: str, hold: int, key_id: str) -> LimitScope | None:
        scopes = [account(day(100)), key(day(60), key_id=key_id)]
        answer = await calls.admit(call_id, hold, scopes=scopes)
        return answer.scope if isinstance(answer, OverBudget) else None

    assert await refused_by("a", 61, "1") == key(day(60), key_id="1")
    assert await refused_by("a", 60, "1") is None
    assert await refused_by("b", 60, "2") == account(day(100))
    assert await refused_by("b", 40, "2") is None
    assert [await calls.held(), await calls.held("1"), await calls.held("2")] == [100, 60, 40]
    await calls.finish("a", 10, key_id="1")
    await calls.settle(["b"])
    assert [await calls.held(), await calls.held("1"), await calls.held("2")] == [10, 10, 0]


async def test_a_period_unknown_to_redis_is_requested(calls: AccountCalls) -> None:
    scopes = [account(day(100), total(100)), key(day(100))]
    assert await calls.admit("a", 1, scopes=scopes) == Unseeded(scopes[0], "day")
    await calls.seed(day=0)
    assert await calls.admit("a", 1, scopes=scopes) == Unseeded(scopes[0], "total")
    await calls.seed(total=0)
    assert await calls.admit("a", 1, scopes=scopes) == Unseeded(scopes[1], "day")
    await calls.settle([], Spent(key_id="k1", period="day", nusd=0))
    assert isinstance(await calls.admit("a", 1, scopes=scopes), Admitted)


async def test_the_largest_amounts_are_computed_exactly(calls: AccountCalls) -> None:
    await calls.seed(day=MAX_NUSD - 2)
    scope, budget = account(day(MAX_NUSD)), day(MAX_NUSD)
    assert await calls.admitted("a", 1, budget)
    assert await calls.admit("b", 2, budget) == OverBudget(scope, budget, MAX_NUSD - 2, 1)
    assert not await calls.admitted("c", MAX_NUSD, budget)
    assert await calls.admitted("d", 1, budget)
    await calls.admit("huge", MAX_NUSD - 2)
    assert await calls.held() == MAX_NUSD
    await calls.settle(["huge", "a"])
    assert await calls.held() == 1


async def test_a_retried_admission_keeps_its_first_hold(calls: AccountCalls) -> None:
    await calls.seed(day=0)
    assert await calls.admitted("a", 60, day(100))
    assert await calls.admitted("a", 70, day(100))
    assert await calls.held() == 60


async def test_a_retried_admission_is_not_refused_for_its_own_hold(calls: AccountCalls) -> None:
    await calls.seed(day=0)
    assert await calls.admitted("a", 60, day(100))
    assert await calls.admitted("a", 60, day(60))
    assert await calls.held() == 60


@pytest.mark.parametrize("cost", [0, 4, 10, 25])
async def test_a_hold_becomes_the_computed_cost_until_it_is_posted(
    calls: AccountCalls, cost: int
) -> None:
    await calls.admit("a", 10)
    await calls.admit("b", 100)
    await calls.finish("a", cost)
    assert await calls.held() == 100 + cost
    assert await calls.lease_left_ms("a") > 6 * 24 * 3600 * 1000
    await calls.finish("a", cost)
    assert await calls.held() == 100 + cost
    await calls.settle(["a"])
    assert await calls.held() == 100


@pytest.mark.parametrize("hold", [0, 10])
async def test_a_settled_call_leaves_nothing_behind(calls: AccountCalls, hold: int) -> None:
    await calls.admit("a", hold, scopes=[account(), key()])
    await calls.finish("a", 0, key_id="k1")
    await calls.settle(["a"])
    await calls.settle(["a"])
    assert await calls.keys() == []


async def test_settling_an_unknown_call_is_harmless(calls: AccountCalls) -> None:
    await calls.admit("a", 10)
    await calls.settle(["unknown", "a", "unknown"])
    assert await calls.keys() == []


@pytest.mark.parametrize("key_id", [None, "k1"])
async def test_a_hold_lost_by_redis_is_restored_at_its_cost(
    calls: AccountCalls, key_id: str | None
) -> None:
    await calls.admit("a", 10, scopes=[account(), key()] if key_id else [account()])
    await calls.redis.flushall()
    await calls.holds.load_scripts()
    await calls.finish("a", 4, key_id=key_id)
    assert [await calls.held(), await calls.held("k1")] == [4, 4 if key_id else 0]
    await calls.settle(["a"])
    assert await calls.keys() == []


async def test_a_hold_is_released_when_its_lease_expires(calls: AccountCalls) -> None:
    await calls.seed(day=0)
    await calls.admit("dead", 100, day(100))
    assert not await calls.admitted("b", 100, day(100))
    await calls.later(60_000)
    assert await calls.admitted("b", 100, day(100))
    assert await calls.held() == 100


async def test_leases_expire_in_bounded_numbers(calls: AccountCalls) -> None:
    for n in range(70):
        await calls.admit(f"dead-{n}", 1)
    await calls.later(60_000)
    await calls.admit("a", 0)
    assert await calls.held() == 6
    await calls.admit("b", 0)
    assert await calls.held() == 0
    assert len(await calls.sweep()) == 70


async def test_a_renewed_lease_lasts_longer_and_never_shorter(calls: AccountCalls) -> None:
    await calls.admit("a", 10, lease_s=60)
    await calls.holds.renew(USER, ["a"], lease_s=600)
    assert 590_000 < await calls.lease_left_ms("a") <= 600_000
    await calls.holds.renew(USER, ["a"], lease_s=30)
    assert 590_000 < await calls.lease_left_ms("a") <= 600_000


async def test_renewing_does_not_restore_a_released_hold(calls: AccountCalls) -> None:
    await calls.admit("a", 10)
    await calls.settle(["a"])
    await calls.holds.renew(USER, ["a", "never"], lease_s=60)
    assert await calls.keys() == []


async def test_an_abandoned_calls_event_is_found_until_it_is_settled(calls: AccountCalls) -> None:
    await calls.admit("dead", 10)
    await calls.admit("alive", 10, lease_s=600)
    assert await calls.sweep() == []
    await calls.later(60_000)
    assert await calls.sweep() == await calls.sweep() == ["dead"]
    assert await calls.held() == 10
    await calls.settle(["dead"])
    assert await calls.sweep() == []
    assert await calls.keys() == _KEPT


async def test_a_call_that_ends_after_its_lease_is_not_swept(calls: AccountCalls) -> None:
    await calls.admit("late", 10)
    await calls.later(60_000)
    await calls.admit("other", 0)
    await calls.finish("late", 4)
    assert await calls.sweep() == []
    assert await calls.held() == 4


async def test_the_sweep_visits_accounts_with_holds(calls: AccountCalls) -> None:
    calls = AccountCalls(calls.redis, visited_s=0)
    await calls.holds.announce_account(USER)
    await calls.admit("a", 10)
    assert await calls.sweep() == []
    assert await calls.accounts_to_sweep() == [USER]
    await calls.later(60_000)
    assert await calls.sweep() == ["a"]
    assert await calls.accounts_to_sweep() == [USER]
    await calls.settle(["a"])
    assert await calls.sweep() == []
    assert await calls.accounts_to_sweep() == []


async def test_a_noted_account_is_visited_for_a_while(calls: AccountCalls) -> None:
    """A gateway that noted it a moment ago may have calls of it again, and die with them."""
    await calls.holds.announce_account(USER)
    assert await calls.sweep() == []
    assert await calls.accounts_to_sweep() == [USER]


async def test_the_hold_of_a_call_lost_by_redis_is_restored(calls: AccountCalls) -> None:
    await calls.admit("kept", 10)
    assert await calls.holds.renew(USER, ["kept", "lost"], lease_s=60) == ["lost"]
    for call_id in ("kept", "lost", "lost"):
        hold = OpenHold(
            user_id=USER,
            call_id=call_id,
            hold_nusd=7,
            key_id="k1",
            lease_s=60,
            parallel_scopes=("", ":key:k1"),
            event=f"event of {call_id}".encode(),
        )
        await calls.holds.retake(hold)
    assert (await calls.held(), await calls.held("k1")) == (17, 7)
    assert await calls.holds.renew(USER, ["kept", "lost"], lease_s=60) == []
    one_at_a_time = [LimitScope(key_id="k1", parallel=1)]
    refused = await calls.admit("another", 1, scopes=one_at_a_time)
    assert isinstance(refused, Limited)
    await calls.later(60_000)
    assert await calls.sweep() == ["kept", "lost"]
    await calls.settle(["kept", "lost"])
    assert await calls.keys() == []


async def spent(calls: AccountCalls) -> int:
    """What the scripts take for spent."""
    answer = await calls.admit("probe", 1, day(0))
    assert isinstance(answer, OverBudget)
    return answer.spent_nusd


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ([(30, 0), (10, 0), (20, 0)], 30),
        # As numbers, not as text.
        ([(30, 0), (100, 0)], 100),
        ([(9, 0), (10, 0)], 10),
        # A later figure may be lower, after a refund, and an earlier one arrive late.
        ([(30, 1), (10, 2)], 10),
        ([(30, 1), (10, 2), (30, 1)], 10),
        ([(30, 9), (10, 10), (20, 9)], 10),
    ],
)
async def test_spend_is_merged_in_any_order(
    calls: AccountCalls, told: list[tuple[int, int]], known: int
) -> None:
    for nusd, revision in told:
        await calls.settle([], Spent(period="day", nusd=nusd, revision=revision))
    assert await spent(calls) == known


async def test_a_refund_can_make_the_spend_negative(calls: AccountCalls) -> None:
    await calls.settle([], Spent(period="day", nusd=-5, revision=1))
    assert await calls.admitted("a", 105, day(100))
    assert not await calls.admitted("b", 1, day(100))


async def test_spend_is_forgotten_long_after_its_period(calls: AccountCalls) -> None:
    await calls.seed(day=1)
    await calls.seed(day=1)
    assert 31 < await calls.redis.ttl(f"{calls.root}:spent:day") / 86_400 <= 40


async def test_all_keys_of_an_account_are_in_one_slot(calls: AccountCalls) -> None:
    await calls.seed(day=0, total=0)
    scope = LimitScope(requests=5, tokens=5, parallel=5, budgets=(day(10), total(10)))
    await calls.admit("a", 1, scopes=[scope, LimitScope(key_id="k1", requests=5, parallel=5)])
    names = await calls.keys()
    assert len(names) > 10
    assert len({key_slot(f"{calls.root}{name}".encode()) for name in names}) == 1


async def test_a_server_that_forgot_the_scripts_gets_them_again(
    calls: AccountCalls,
) -> None:
    await calls.redis.script_flush()
    await calls.admit("a", 10)
    await calls.redis.script_flush()
    with pytest.raises(NoScriptError):
        await calls.finish("a", 4)
    await calls.holds.load_scripts()
    await calls.finish("a", 4)
    assert await calls.held() == 4


async def test_no_race_overruns_the_pool(calls: AccountCalls) -> None:
    await calls.seed(day=45)
    replicas = [calls, AccountCalls(calls.redis), AccountCalls(calls.redis)]
    admitted = await asyncio.gather(
        *(replicas[n % 3].admitted(f"call-{n}", 10, day(250)) for n in range(90))
    )
    assert sum(admitted) == 20
    assert await calls.held() == 200


_HOUR_S, _DAY_S = 3600, 24 * 3600


async def ttl_s(calls: AccountCalls, period: str) -> int:
    return int(await calls.redis.ttl(f"{calls.root}:spent:{period}"))


@pytest.mark.parametrize(
    ("period", "days"), [("2026-11-24", 3), ("2026-W48", 9), ("2026-11", 33), ("total", 40)]
)
async def test_a_copy_that_a_budget_asked_for_is_kept_for_its_period(
    calls: AccountCalls, period: str, days: int
) -> None:
    await calls.holds.seed(USER, [Spent(period=period, nusd=5)])
    await calls.settle([], Spent(period=period, nusd=6))
    assert (days - 1) * _DAY_S < await ttl_s(calls, period) <= days * _DAY_S


async def test_a_copy_that_no_budget_asks_for_goes_within_the_hour(calls: AccountCalls) -> None:
    await calls.settle([], Spent(period="2026-11", nusd=5))
    assert 0 < await ttl_s(calls, "2026-11") <= _HOUR_S
    await calls.holds.seed(USER, [Spent(period="2026-11", nusd=5)])
    assert await ttl_s(calls, "2026-11") > 32 * _DAY_S


async def test_a_seed_from_before_a_posting_does_not_replace_what_was_posted(
    calls: AccountCalls,
) -> None:
    """The gateway had looked into MongoDB, and the worker settled before it wrote."""
    await calls.settle([], Spent(period="2026-11", nusd=90, revision=2))
    await calls.holds.seed(USER, [Spent(period="2026-11", nusd=40, revision=1)])
    assert not await calls.admitted("a", 20, PeriodLimit("2026-11", 100))
    assert await calls.admitted("b", 10, PeriodLimit("2026-11", 100))
