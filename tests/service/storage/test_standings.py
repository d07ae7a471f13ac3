"""What `look.lua` finds is what an admission would, and looking changes nothing."""

import pytest

from libs.common.schemas.holds import LimitScope, PeriodLimit, Spent, Unseeded
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.shards import shards_of
from libs.common.storage.redis.standings import ScopeStanding, StandingStore
from tests.service.storage.account import USER, AccountCalls

ACCOUNT = LimitScope(requests=9, tokens=900, parallel=9, budgets=(PeriodLimit("day", 1_000),))
KEY = LimitScope(
    key_id="k1", requests=9, tokens=900, parallel=9, budgets=(PeriodLimit("total", 500),)
)
SCOPES = [ACCOUNT, KEY]


@pytest.fixture
def standings(calls: AccountCalls) -> StandingStore:
    return StandingStore(Pipelined(calls.redis), shards_of(calls.redis))


async def look(standings: StandingStore) -> list[ScopeStanding]:
    found = await standings.look(USER, SCOPES)
    assert not isinstance(found, Unseeded)
    return list(found)


async def test_unknown_spend_is_reported(calls: AccountCalls, standings: StandingStore) -> None:
    assert await standings.look(USER, SCOPES) == Unseeded(ACCOUNT, "day")
    await calls.seed(day=0)
    assert await standings.look(USER, SCOPES) == Unseeded(KEY, "total")
    assert await standings.look(USER, [LimitScope()]) != Unseeded(KEY, "total")


async def test_calls_of_the_key_count_for_the_account_too(
    calls: AccountCalls, standings: StandingStore
) -> None:
    await calls.settle([], Spent(period="day", nusd=70), Spent(key_id="k1", period="total", nusd=5))
    await calls.admit("a", 10, tokens=100, scopes=SCOPES)
    await calls.admit("b", 20, tokens=200, scopes=[ACCOUNT])
    account, key = await look(standings)
    assert (account.requests, account.tokens, account.parallel) == (2, 300, 2)
    assert (account.held_nusd, account.spent_nusd) == (30, (70,))
    assert (key.requests, key.tokens, key.parallel) == (1, 100, 1)
    assert (key.held_nusd, key.spent_nusd) == (10, (5,))
    assert 59_000 < key.requests_reset_ms <= 60_000


async def test_expired_holds_are_not_counted_and_not_cleared(
    calls: AccountCalls, standings: StandingStore
) -> None:
    await calls.settle([], Spent(period="day", nusd=0), Spent(key_id="k1", period="total", nusd=0))
    await calls.admit("old", 10, tokens=100, scopes=SCOPES)
    await calls.later(60_000)
    before = {name: await calls.redis.dump(calls.root + name) for name in await calls.keys()}
    nothing = [(0, 0, 0, 0, 0)] * 2
    assert [
        (s.requests, s.requests_reset_ms, s.tokens, s.parallel, s.held_nusd)
        for s in await look(standings)
    ] == nothing
    assert before == {
        name: await calls.redis.dump(calls.root + name) for name in await calls.keys()
    }


async def test_one_nano_usd_is_not_lost(calls: AccountCalls, standings: StandingStore) -> None:
    await calls.settle(
        [], Spent(period="day", nusd=2**53 - 1), Spent(key_id="k1", period="total", nusd=-3)
    )
    account, key = await look(standings)
    assert (account.spent_nusd, key.spent_nusd) == ((2**53 - 1,), (-3,))
