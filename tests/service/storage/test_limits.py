"""The contract of the admission script over limits: per minute, and at a time."""

import asyncio

import pytest

from libs.common.schemas.holds import Admission, Admitted, Limited, LimitScope, PeriodLimit, Window
from tests.service.storage.account import AccountCalls


async def outcome(
    calls: AccountCalls, call_id: str, *scopes: LimitScope, tokens: int = 0
) -> str | tuple[str, int]:
    """`ok`, or which limit is reached and how much of it is used."""
    answer = await calls.admit(call_id, 1, scopes=scopes, tokens=tokens)
    if isinstance(answer, Limited):
        return answer.kind, answer.used
    return "ok" if isinstance(answer, Admitted) else "refused"


def wait_ms(answer: Admission) -> int:
    assert isinstance(answer, Limited)
    return answer.wait_ms


def windows(answer: Admission) -> tuple[Window, ...]:
    assert isinstance(answer, Admitted)
    return answer.windows


async def test_no_more_requests_than_the_limit_within_any_minute(calls: AccountCalls) -> None:
    scope = LimitScope(requests=2)
    assert await outcome(calls, "a", scope) == "ok"
    await calls.later(30_000)
    assert await outcome(calls, "b", scope) == "ok"
    assert await outcome(calls, "c", scope) == ("requests", 2)
    await calls.later(29_000)
    assert await outcome(calls, "c", scope) == ("requests", 2)
    # The window slides: `a` has left it, `b` has not.
    await calls.later(1_000)
    assert await outcome(calls, "c", scope) == "ok"
    assert await outcome(calls, "d", scope) == ("requests", 2)


async def test_the_wait_is_until_there_is_room_for_one_more(calls: AccountCalls) -> None:
    scope = LimitScope(requests=3)
    for call_id in "abc":
        await calls.admit(call_id, 1, scopes=[scope])
        await calls.later(10_000)
    delay_ms = wait_ms(await calls.admit("d", 1, scopes=[scope]))
    assert 29_000 < delay_ms <= 30_000
    await calls.later(delay_ms - 1_000)
    assert await outcome(calls, "d", scope) == ("requests", 3)
    await calls.later(1_000)
    assert await outcome(calls, "d", scope) == "ok"


async def test_the_wait_takes_a_lowered_limit_into_account(calls: AccountCalls) -> None:
    for call_id in "abc":
        await calls.admit(call_id, 1, scopes=[LimitScope(requests=3)])
        await calls.later(10_000)
    delay_ms = wait_ms(await calls.admit("d", 1, scopes=[LimitScope(requests=1)]))
    # Even the last of the three has to leave.
    assert 49_000 < delay_ms <= 50_000


async def test_a_limit_of_zero_admits_nothing(calls: AccountCalls) -> None:
    assert await outcome(calls, "a", LimitScope(requests=0)) == ("requests", 0)
    assert await outcome(calls, "a", LimitScope(tokens=0), tokens=1) == ("tokens", 0)
    assert await outcome(calls, "a", LimitScope(parallel=0)) == ("parallel", 0)
    assert wait_ms(await calls.admit("a", 1, scopes=[LimitScope(requests=0)])) > 0


async def test_no_more_tokens_than_the_limit_within_any_minute(calls: AccountCalls) -> None:
    scope = LimitScope(tokens=100)
    assert await outcome(calls, "a", scope, tokens=60) == "ok"
    assert await outcome(calls, "b", scope, tokens=41) == ("tokens", 60)
    assert await outcome(calls, "c", scope, tokens=40) == "ok"
    assert await outcome(calls, "d", scope, tokens=1) == ("tokens", 100)
    assert await outcome(calls, "e", scope, tokens=0) == "ok"
    await calls.later(60_000)
    assert await outcome(calls, "d", scope, tokens=100) == "ok"


async def test_the_wait_for_tokens_is_until_enough_of_them_are_free(calls: AccountCalls) -> None:
    scope = LimitScope(tokens=100)
    for call_id, tokens in [("a", 20), ("b", 50), ("c", 30)]:
        await calls.admit(call_id, 1, scopes=[scope], tokens=tokens)
        await calls.later(10_000)

    async def delay_ms(tokens: int) -> int:
        return wait_ms(await calls.admit("d", 1, scopes=[scope], tokens=tokens))

    assert 29_000 < await delay_ms(20) <= 30_000
    assert 39_000 < await delay_ms(21) <= 40_000
    assert 39_000 < await delay_ms(70) <= 40_000
    assert 49_000 < await delay_ms(71) <= 50_000


@pytest.mark.parametrize(("used", "left"), [(10, 90), (60, 40), (100, 0), (500, 0)])
async def test_the_tokens_of_a_call_are_corrected_when_it_ends(
    calls: AccountCalls, used: int, left: int
) -> None:
    scopes = [LimitScope(tokens=100), LimitScope(key_id="k1", tokens=100)]
    await calls.admit("a", 1, scopes=scopes, tokens=60)
    await calls.finish("a", 1, key_id="k1", tokens=used)
    answer = await calls.admit("b", 1, scopes=scopes, tokens=0)
    if used <= 100:
        assert [window.tokens_left for window in windows(answer)] == [left, left]
    else:
        assert isinstance(answer, Limited)
    await calls.later(60_000)
    assert await outcome(calls, "c", *scopes, tokens=100) == "ok"


async def test_unknown_token_counts_stay_estimated(calls: AccountCalls) -> None:
    await calls.admit("a", 1, scopes=[LimitScope(tokens=100)], tokens=60)
    await calls.finish("a", 1, tokens=None)
    assert await outcome(calls, "b", LimitScope(tokens=100), tokens=41) == ("tokens", 60)


async def test_a_call_that_ends_long_after_its_minute_corrects_nothing(
    calls: AccountCalls,
) -> None:
    scope = LimitScope(tokens=100)
    await calls.admit("a", 1, scopes=[scope], tokens=60, lease_s=600)
    await calls.later(60_000)
    await calls.admit("b", 1, scopes=[scope], tokens=10)
    await calls.finish("a", 1, tokens=1_000)
    assert await outcome(calls, "c", scope, tokens=91) == ("tokens", 10)
    assert await outcome(calls, "c", scope, tokens=90) == "ok"


async def test_no_more_calls_at_a_time_than_the_limit(calls: AccountCalls) -> None:
    scope = LimitScope(parallel=2)
    assert await outcome(calls, "a", scope) == "ok"
    assert await outcome(calls, "b", scope) == "ok"
    assert await outcome(calls, "c", scope) == ("parallel", 2)
    await calls.finish("a", 1)
    assert await outcome(calls, "c", scope) == "ok"
    # Posting comes later, and frees nothing twice.
    await calls.settle(["a"])
    assert await outcome(calls, "d", scope) == ("parallel", 2)


async def test_a_dead_gateways_calls_are_parallel_until_their_lease_ends(
    calls: AccountCalls,
) -> None:
    scope = LimitScope(parallel=1)
    await calls.admit("dead", 1, scopes=[scope])
    await calls.later(59_000)
    await calls.holds.renew("acme", ["dead"], lease_s=60)
    await calls.later(59_000)
    assert await outcome(calls, "b", scope) == ("parallel", 1)
    await calls.later(1_000)
    assert await outcome(calls, "b", scope) == "ok"


async def test_a_keys_limits_lie_inside_the_accounts(calls: AccountCalls) -> None:
    def scopes(key_id: str) -> list[LimitScope]:
        return [LimitScope(requests=3), LimitScope(key_id=key_id, requests=2)]

    answers = [
        await calls.admit(call_id, 1, scopes=scopes(key_id))
        for call_id, key_id in [("a", "1"), ("b", "1"), ("c", "1"), ("c", "2"), ("d", "2")]
    ]
    refused_by = [
        (answer.scope.key_id, answer.used) if isinstance(answer, Limited) else None
        for answer in answers
    ]
    assert refused_by == [None, None, ("1", 2), None, (None, 3)]


@pytest.mark.parametrize(
    "refusing",
    [
        LimitScope(key_id="k1", requests=0),
        LimitScope(key_id="k1", tokens=4),
        LimitScope(key_id="k1", parallel=0),
        LimitScope(key_id="k1", budgets=(PeriodLimit("day", 0),)),
    ],
)
async def test_a_refused_call_counts_in_no_scope(calls: AccountCalls, refusing: LimitScope) -> None:
    limited = LimitScope(requests=1, tokens=5, parallel=1)
    assert await outcome(calls, "a", limited, refusing, tokens=5) != "ok"
    assert await outcome(calls, "b", limited, tokens=5) == "ok"


async def test_a_retried_admission_counts_once(calls: AccountCalls) -> None:
    scope = LimitScope(requests=2, tokens=10, parallel=2)
    first = await calls.admit("a", 1, scopes=[scope], tokens=5)
    second = await calls.admit("a", 1, scopes=[scope], tokens=5)
    assert windows(first)[0].requests_left == windows(second)[0].requests_left == 1
    assert windows(second)[0].tokens_left == 5
    assert await outcome(calls, "b", scope, tokens=5) == "ok"


async def test_a_retried_admission_at_the_limit_is_not_refused(calls: AccountCalls) -> None:
    scope = LimitScope(requests=1, tokens=5, parallel=1)
    assert await outcome(calls, "a", scope, tokens=5) == "ok"
    assert await outcome(calls, "a", scope, tokens=5) == "ok"


@pytest.mark.parametrize("gone", ["settled", "expired"])
async def test_an_admission_retried_after_its_hold_is_gone_counts_once(
    calls: AccountCalls, gone: str
) -> None:
    scope = LimitScope(tokens=10)
    await calls.admit("a", 1, scopes=[scope], tokens=5, lease_s=30)
    if gone == "settled":
        await calls.settle(["a"])
    else:
        await calls.later(30_000)
    await calls.admit("a", 1, scopes=[scope], tokens=5)
    assert int(await calls.redis.get(f"{calls.root}:sum")) == 5


async def test_an_admitted_call_gets_the_remaining_limits_and_their_reset(
    calls: AccountCalls,
) -> None:
    scopes = [LimitScope(requests=10, tokens=1_000), LimitScope(key_id="k1", parallel=5)]
    await calls.admit("a", 1, scopes=scopes, tokens=100)
    await calls.later(20_000)
    account, key = windows(await calls.admit("b", 1, scopes=scopes, tokens=200))
    assert (account.requests_left, account.tokens_left) == (8, 700)
    assert 39_000 < account.requests_reset_ms <= 40_000
    assert key == Window(0, 0, 0, 0)


async def test_a_clock_jumping_back_locks_out_no_longer_than_its_jump(
    calls: AccountCalls,
) -> None:
    scope = LimitScope(requests=1)
    await calls.admit("a", 1, scopes=[scope])
    await calls.later(-30_000)
    delay_ms = wait_ms(await calls.admit("b", 1, scopes=[scope]))
    assert 89_000 < delay_ms <= 90_000


async def test_counters_expire(calls: AccountCalls) -> None:
    await calls.admit("a", 1, scopes=[LimitScope(requests=5, tokens=5)], tokens=1)
    for name in (":window", ":tokens", ":sum"):
        assert 60 <= await calls.redis.ttl(calls.root + name) <= 120


async def test_no_race_overruns_a_limit(calls: AccountCalls) -> None:
    scope = LimitScope(requests=30, tokens=200, parallel=25)
    outcomes = await asyncio.gather(
        *(outcome(calls, f"call-{n}", scope, tokens=10) for n in range(60))
    )
    assert outcomes.count("ok") == 20
    assert outcomes.count(("tokens", 200)) == 40
