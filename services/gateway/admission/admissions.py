"""Admits calls against their account's budgets and limits, and keeps their holds alive (P4)."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import structlog

from libs.common.breaker import Breaker
from libs.common.cache import LoadingCache
from libs.common.errors import Unavailable
from libs.common.schemas.holds import (
    Admission,
    Admitted,
    Limited,
    LimitScope,
    OpenHold,
    OverBudget,
    Unseeded,
)
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.client import OutOfMemoryError, RedisError
from libs.common.storage.redis.holds import HoldStore
from services.gateway.admission.call_hold import CallHold
from services.gateway.admission.hold_amount import hold_amount
from services.gateway.admission.scopes import (
    CurrentScopes,
    ScopesNow,
    budget_error,
    limit_error,
    scopes_of,
    tightest_limits,
    warnings,
)
from services.gateway.admission.spend_reader import SpendReader
from services.gateway.admission.without_redis import ClosedCalls, WithoutRedis
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import Call
from services.gateway.calls.clock import SharedClock
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.metrics import BUDGET_WARNINGS, HOLDS_OPEN, REDIS_FULL
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Backlog

log = structlog.get_logger(__name__)
_RENEWALS_PER_LEASE = 3
# The sweep visits an account for ten minutes after a gateway last announced it.
_ANNOUNCE_EVERY_S = 60.0
_MAX_ANNOUNCED = 50_000


class Admissions:
    """The gate that every call passes before it is forwarded."""

    def __init__(
        self,
        holds: HoldStore,
        database: Database,
        backlog: Backlog,
        breakers: Breakers,
        clock: SharedClock,
        settings: Settings,
    ) -> None:
        self._holds = holds
        self._backlog = backlog
        self._spend = SpendReader(database, holds)
        self._without_redis = WithoutRedis(
            self._spend, holds.shards, is_open=settings.admission_without_redis == "open"
        )
        self._breakers = breakers
        self._clock = clock
        self._settings = settings
        self._open: dict[str, CallHold] = {}
        # From a call's admission until it is closed; by the call's id.
        self.hold_of = self._open.get
        # Read when metrics are scraped.
        HOLDS_OPEN.set_function(partial(len, self._open))
        self._scopes = CurrentScopes()
        self._renew_now = asyncio.Event()
        self._announced: LoadingCache[bool] = LoadingCache(
            self._announce,
            max_items=_MAX_ANNOUNCED,
            ttl_s=_ANNOUNCE_EVERY_S,
            negative_ttl_s=_ANNOUNCE_EVERY_S,
        )

    async def admit(
        self, call: Call, priced: PricedRequest, tags: tuple[str, ...], attempts: Attempts
    ) -> CallHold:
        """Takes the call's hold. Raises BudgetExceeded, RateLimited, or Unavailable by policy."""
        multiplier = call.principal.account.price_multiplier
        now = self._scopes.of(call.principal, call.started_at)
        hold = CallHold(
            call=call,
            priced=priced,
            tags=tags,
            attempts=attempts,
            budgets=now.budgets,
            nusd=hold_amount(priced, multiplier, self._settings.default_max_output_tokens),
        )
        breaker = self._breakers.of(hold.user_id)
        if breaker.allows():
            try:
                return await self._admit(hold, now, priced.input_tokens, breaker)
            except (RedisError, OSError) as error:
                breaker.failed()
                REDIS_FULL.set(isinstance(error, OutOfMemoryError))
                log.warning("admission.redis_away", error=error)
            except PyMongoError as error:
                log.warning("admission.spend_unknown", error=error)
        await self._without_redis.admit(hold)
        self._open_call(hold)
        await self._backlog.record_hold(self._open_hold(hold))
        return hold

    def is_open(self, call_id: str) -> bool:
        """Whether the call is under way in this process."""
        return call_id in self._open

    def redis_has_hold(self, call_id: str) -> None:
        """From now on the hold counts as one that Redis knows."""
        hold = self._open.get(call_id)
        if hold is not None:
            self._without_redis.observe_hold(hold)

    def close_call(self, call_id: str, cost_nusd: int) -> None:
        """Call this once the event is durable; from then on the ledger releases the hold."""
        hold = self._open.pop(call_id, None)
        if hold is not None:
            self._backlog.release(hold.tags)
            self._without_redis.observe_close(hold, cost_nusd)

    def closed_calls(self) -> ClosedCalls:
        """What calls used that Redis did not know of, and whose events are durable now."""
        return self._without_redis.closed_calls()

    def spool_is_drained(self, closed: ClosedCalls, *, except_shards: Collection[int] = ()) -> None:
        """Call this once Redis has the events of these calls, except for those shards."""
        self._without_redis.observe_drained_spool(closed, except_shards)

    async def renew_leases(self) -> None:
        """Runs until cancelled: prolongs the holds of calls that are under way."""
        lease_s = self._settings.hold_lease_s
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(lease_s / _RENEWALS_PER_LEASE):
                    await self._renew_now.wait()
            self._renew_now.clear()
            calls: defaultdict[int, defaultdict[str, list[str]]] = defaultdict(
                lambda: defaultdict(list)
            )
            for call_id, hold in self._open.items():
                calls[self._holds.shards.of(hold.user_id)][hold.user_id].append(call_id)
            # A shard whose server is away does not hold up the others.
            await asyncio.gather(*map(self._renew_shard, calls.values()))

    async def _renew_shard(self, calls: Mapping[str, list[str]]) -> None:
        """`calls` by account."""
        try:
            for user_id, call_ids in calls.items():
                await self._renew(user_id, call_ids)
        except (RedisError, OSError) as error:
            log.warning("leases.not_renewed", error=error)

    async def _renew(self, user_id: str, call_ids: list[str]) -> None:
        await self._holds.announce_account(user_id)
        lease_s = self._settings.hold_lease_s
        for call_id in await self._holds.renew(user_id, call_ids, lease_s=lease_s):
            hold = self._open.get(call_id)
            if hold is not None:
                await self._holds.retake(self._open_hold(hold))
                self.redis_has_hold(call_id)

    def _open_hold(self, hold: CallHold) -> OpenHold:
        scopes = scopes_of(hold.call.principal, hold.budgets)
        return OpenHold(
            user_id=hold.user_id,
            call_id=hold.call.call_id,
            hold_nusd=hold.nusd,
            key_id=None if len(scopes) == 1 else hold.call.principal.key.key_id,
            lease_s=self._settings.hold_lease_s,
            parallel_scopes=tuple(scope.scope for scope in scopes if scope.parallel >= 0),
            event=hold.abandoned_event(),
        )

    async def _admit(
        self, hold: CallHold, now: ScopesNow, tokens: int, breaker: Breaker
    ) -> CallHold:
        """Raises RedisError or PyMongoError if a store does not answer, else as `admit`."""
        budgets, user_id = hold.budgets, hold.user_id
        asked_ms = self._clock.now_ms()
        await self._announced.get(user_id)
        scopes = self._without_redis.lower_limits(user_id, now.scopes)
        admission = await self._ask_redis(hold, scopes, tokens)
        if isinstance(admission, Unseeded):
            # A flushed Redis has lost the holds of calls under way, too.
            self._renew_now.set()
            await self._spend.seed(user_id, budgets)
            admission = await self._ask_redis(hold, scopes, tokens)
        breaker.succeeded()
        match admission:
            case OverBudget():
                raise budget_error(admission, budgets, hold.call.principal, hold.nusd)
            case Limited():
                raise limit_error(admission, tokens)
            case Unseeded():
                raise Unavailable("The account's spend could not be read. Try again in a moment.")
            case Admitted():
                self._clock.adjust(admission.now_ms, asked_ms=asked_ms)
                hold = _with_standing(hold, now, admission)
                self._open_call(hold)
                self._without_redis.observe_admission(hold, admission)
        if self._without_redis.any_open(user_id):
            self._renew_now.set()
        return hold

    def _ask_redis(
        self, hold: CallHold, scopes: Sequence[LimitScope], tokens: int
    ) -> Coroutine[Any, Any, Admission]:
        return self._holds.admit(
            hold.user_id,
            hold.call.call_id,
            hold_nusd=hold.nusd,
            tokens=tokens,
            lease_s=self._settings.hold_lease_s,
            scopes=scopes,
            event=hold.abandoned_event(),
        )

    def _open_call(self, hold: CallHold) -> None:
        self._open[hold.call.call_id] = hold
        self._backlog.reserve(hold.tags)

    async def _announce(self, user_id: str) -> bool:
        await self._holds.announce_account(user_id)
        return True


def _with_standing(hold: CallHold, now: ScopesNow, admitted: Admitted) -> CallHold:
    """What a client is told of its limits, where it has any."""
    if not (now.has_rates or now.has_soft_limits):
        return hold
    lines = tuple(warnings(now.budgets, admitted)) if now.has_soft_limits else ()
    if lines:
        BUDGET_WARNINGS.inc()
    limits = tightest_limits(now.scopes, admitted.windows) if now.has_rates else ()
    return msgspec.structs.replace(hold, limits=limits, warnings=lines)
