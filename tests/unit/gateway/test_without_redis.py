"""Without Redis calls are admitted up to what was left, and what they took is not forgotten."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.errors import BudgetExceeded, Unavailable
from libs.common.schemas.account import Budget
from libs.common.schemas.holds import Admitted, LimitScope, PeriodLimit, Standing
from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.shards import ONE, Shards, cluster_shards
from services.gateway.admission.call_hold import CallHold
from services.gateway.admission.scopes import budgets_now, scopes_of
from services.gateway.admission.without_redis import WithoutRedis
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.principal import Principal
from services.gateway.formats import CHAT
from tests.support.sharding import user_of
from tests.unit.builders import account, api_key
from tests.unit.gateway.new_calls import new_call

AT = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
LIMIT = 1_000
PRICED = PricedRequest(request=CHAT.decode(b'{"model": "m"}'), prices={}, input_tokens=1)
TOTAL = Budget(limit_nusd=LIMIT, period="total")


class Ledger:
    """What MongoDB says was spent, by key and period."""

    def __init__(self) -> None:
        self.nusd: dict[tuple[str | None, str], int] = {}
        self.is_away = False

    async def spent(
        self, _user_id: str, key_id: str | None, period: str, _days: object
    ) -> PeriodSpend:
        if self.is_away:
            raise PyMongoError("away")
        return PeriodSpend(self.nusd.get((key_id, period), 0))


class Desk:
    """One account's calls; each costs what it holds unless told otherwise."""

    def __init__(
        self, caller: Principal | None = None, *, is_open: bool = True, shards: Shards = ONE
    ) -> None:
        self.ledger = Ledger()
        self.caller = caller or Principal(api_key(), account(budgets=(TOTAL,)))
        self.budgets = budgets_now(self.caller, AT)
        reader: Any = self.ledger
        self.gate = WithoutRedis(reader, shards, is_open=is_open)

    def by_redis(self, nusd: int, *standings: tuple[int, int]) -> CallHold:
        """Redis admits a call, and reports how the budgets stand with it."""
        hold = self._hold(nusd)
        reported = tuple(Standing(*standing) for standing in standings)
        self.gate.observe_admission(hold, Admitted(0, (), reported))
        return hold

    async def without(self, nusd: int) -> CallHold | None:
        """None where it is refused."""
        hold = self._hold(nusd)
        try:
            await self.gate.admit(hold)
        except BudgetExceeded:
            return None
        return hold

    def end(self, hold: CallHold | None, cost_nusd: int) -> None:
        assert hold is not None
        self.gate.observe_close(hold, cost_nusd)

    async def room(self) -> int:
        """How much a call may hold."""
        lo, hi = 0, 10 * LIMIT
        while lo < hi:
            middle = (lo + hi + 1) // 2
            hold = await self.without(middle)
            if hold is None:
                hi = middle - 1
            else:
                self.end(hold, 0)
                lo = middle
        return lo

    def limit_for_redis(self) -> int:
        scopes = self.gate.lower_limits(
            self.caller.account.user_id, scopes_of(self.caller, self.budgets)
        )
        return scopes[0].budgets[0].limit

    def _hold(self, nusd: int) -> CallHold:
        return CallHold(
            call=new_call(CHAT, now_ms=0, principal=self.caller),
            priced=PRICED,
            tags=(),
            attempts=Attempts(),
            budgets=self.budgets,
            nusd=nusd,
        )


async def test_spend_in_mongodb_counts() -> None:
    desk = Desk()
    desk.ledger.nusd[None, "total"] = 300
    assert await desk.room() == 700


async def test_a_higher_last_figure_of_redis_counts() -> None:
    desk = Desk()
    desk.ledger.nusd[None, "total"] = 300
    desk.by_redis(100, (300, 250))
    assert await desk.room() == 450


async def test_a_settled_hold_releases_the_rest() -> None:
    desk = Desk()
    hold = desk.by_redis(100, (300, 250))
    desk.end(hold, 40)
    assert await desk.room() == 1_000 - 300 - 250 + 60


async def test_finished_calls_stay_counted_until_redis_has_them() -> None:
    """Or the same money could be spent again and again in one outage."""
    desk = Desk()
    for _ in range(10):
        desk.end(await desk.without(100), 100)
    assert await desk.without(1) is None
    assert desk.limit_for_redis() == 0
    desk.gate.observe_drained_spool(desk.gate.closed_calls(), ())
    assert desk.limit_for_redis() == LIMIT
    assert await desk.without(1) is not None


async def test_unused_holds_make_room_for_other_calls() -> None:
    desk = Desk()
    desk.end(await desk.without(900), 100)
    assert await desk.room() == 900
    open_call = await desk.without(500)
    assert await desk.room() == 400
    desk.gate.observe_drained_spool(desk.gate.closed_calls(), ())
    assert await desk.room() == 500
    desk.end(open_call, 1)
    assert await desk.room() == 999


async def test_a_hold_taken_over_by_redis_is_counted_once() -> None:
    desk = Desk()
    hold = await desk.without(400)
    assert desk.gate.any_open("acme")
    assert desk.limit_for_redis() == 600
    assert hold is not None
    desk.gate.observe_hold(hold)
    assert not desk.gate.any_open("acme")
    assert desk.limit_for_redis() == LIMIT
    assert await desk.room() == 600
    desk.end(hold, 400)
    assert await desk.room() == LIMIT


async def test_the_budgets_of_keys_count_too() -> None:
    key_budget = Budget(limit_nusd=100, period="daily")
    caller = Principal(api_key(budgets=(key_budget,)), account(budgets=(TOTAL,)))
    desk = Desk(caller)
    desk.ledger.nusd["key-1", "2026-11-24"] = 30
    assert await desk.room() == 70
    desk.end(await desk.without(70), 60)
    assert await desk.room() == 10
    scopes = desk.gate.lower_limits("acme", scopes_of(caller, desk.budgets))
    assert scopes == [
        LimitScope(budgets=(PeriodLimit("total", 940),)),
        LimitScope(key_id="key-1", budgets=(PeriodLimit("2026-11-24", 40),)),
    ]


async def test_with_both_stores_down_the_cached_account_counts() -> None:
    desk = Desk(Principal(api_key(), account(budgets=(TOTAL,), spent_nusd=800)))
    desk.ledger.is_away = True
    assert await desk.room() == 200
    desk.by_redis(100, (850, 100))
    assert await desk.room() == 50


async def test_without_budgets_everything_is_admitted() -> None:
    desk = Desk(Principal(api_key(), account()))
    assert await desk.without(10**15) is not None


async def test_the_policy_can_refuse_every_call() -> None:
    desk = Desk(is_open=False)
    with pytest.raises(Unavailable):
        await desk.without(1)


async def test_accounts_without_open_calls_are_not_kept() -> None:
    desk = Desk()
    desk.end(desk.by_redis(100, (0, 100)), 100)
    desk.end(await desk.without(100), 0)
    assert await desk.without(10 * LIMIT) is None
    assert not desk.gate._held
    assert not desk.gate._own_use


async def test_a_shard_that_is_away_keeps_what_its_calls_used_and_others_do_not() -> None:
    shards = cluster_shards(4)
    here, away = user_of(shards, 0), user_of(shards, 1)
    callers = [
        Principal(api_key(user_id=user), account(user, budgets=(TOTAL,))) for user in (here, away)
    ]
    desk = Desk(callers[0], shards=shards)
    open_call = await desk.without(100)
    desk.end(await desk.without(300), 300)
    desk.caller = callers[1]
    desk.end(await desk.without(200), 200)
    assert desk.gate.any_open(here)
    assert not desk.gate.any_open(away)

    closed = desk.gate.closed_calls()
    # It ends after the spool was looked at, so its event may still be there.
    desk.caller = callers[0]
    desk.end(open_call, 50)
    desk.gate.observe_drained_spool(closed, {1})
    assert desk.limit_for_redis() == LIMIT - 50
    desk.caller = callers[1]
    assert desk.limit_for_redis() == LIMIT - 200
    desk.gate.observe_drained_spool(desk.gate.closed_calls(), ())
    assert desk.limit_for_redis() == LIMIT
