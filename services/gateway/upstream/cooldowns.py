"""Stops calls to a failing deployment for a while.

Invariant: no account makes a deployment cool down for another. A failure that a request may have
caused counts for its account alone, until more accounts in a row have failed than the route allows
failures. A failure that no request can cause counts for all accounts at once.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from time import time
from typing import Any, TypeVar

import structlog

from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.cooldowns import CooldownStore
from services.gateway.metrics import DEPLOYMENTS_COOLING
from services.gateway.upstream.verdict import Failure

log = structlog.get_logger(__name__)
_SYNC_S = 1.0
# Bounds the pairs of deployment and account with counted failures; the oldest are dropped.
_MAX_PAIRS = 10_000

Pair = tuple[str, str]
T = TypeVar("T", int, float)


class Cooldowns:
    """Counts failures in a row, and shares the cooldowns for all accounts through Redis.

    Cooldowns for one account stay in this process. While Redis is unavailable, each replica uses
    only its own cooldowns.
    """

    def __init__(
        self,
        store: CooldownStore,
        *,
        clock: Callable[[], float] = time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._until_s: dict[str, float] = {}
        self._unshared: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._until_s_of: dict[Pair, float] = {}
        self._failures: Counter[str] = Counter()
        self._failures_of: dict[Pair, int] = {}
        self._failing_accounts: defaultdict[str, set[str]] = defaultdict(set)
        # Read when metrics are scraped.
        DEPLOYMENTS_COOLING.labels("all").set_function(lambda: self._count(self._until_s))
        DEPLOYMENTS_COOLING.labels("account").set_function(lambda: self._count(self._until_s_of))

    def _count(self, until_s: Mapping[Any, float]) -> int:
        now_s = self._clock()
        return sum(until > now_s for until in until_s.values())

    def is_cooling(self, deployment_id: str, user_id: str) -> bool:
        """Whether the deployment cools down for this account's calls."""
        if not self._until_s and not self._until_s_of:
            return False
        until_s = max(
            self._until_s.get(deployment_id, 0.0),
            self._until_s_of.get((deployment_id, user_id), 0.0),
        )
        return until_s > self._clock()

    def succeeded(self, deployment_id: str, user_id: str) -> None:
        if self._failures or self._failures_of or self._failing_accounts:
            self.refused(deployment_id, user_id)
            self._failing_accounts.pop(deployment_id, None)

    def refused(self, deployment_id: str, user_id: str) -> None:
        """Counts a rejection of this account's request: the deployment is up."""
        self._failures.pop(deployment_id, None)
        self._failures_of.pop((deployment_id, user_id), None)

    def failed(
        self,
        deployment_id: str,
        user_id: str,
        failure: Failure,
        *,
        after: int,
        for_s: float,
        at_once: bool = False,
        last_answer: str = "",
    ) -> None:
        """Counts a failure. A cooldown starts at the `after`th in a row, or `at_once`.

        `last_answer` is what the deployment answered, in a word or two.
        """
        if failure is Failure.OF_REQUEST:
            return
        why = "retry_after" if at_once else failure.name.lower()
        if failure is Failure.OF_DEPLOYMENT:
            self._failures[deployment_id] += 1
            failures = self._failures[deployment_id]
            if at_once or failures >= after:
                reason = "it asked for the pause" if at_once else _in_a_row(failures)
                self.start(deployment_id, for_s, why=why, reason=_with_answer(reason, last_answer))
            return
        self._failures.pop(deployment_id, None)
        after_own = 1 if at_once else after
        self._failed_for(deployment_id, user_id, after=after_own, for_s=for_s, why=why)
        if failure is Failure.UNEXPLAINED:
            accounts = self._failing_accounts[deployment_id]
            accounts.add(user_id)
            if len(accounts) > after:
                reason = f"calls of {len(accounts)} accounts failed"
                why = f"{len(accounts)}_accounts"
                self.start(deployment_id, for_s, why=why, reason=_with_answer(reason, last_answer))

    def start(self, deployment_id: str, for_s: float, *, why: str, reason: str = "") -> None:
        """Cools the deployment down for all accounts; `why` is for the log, `reason` for people."""
        until_s = self._clock() + for_s
        self._failures.pop(deployment_id, None)
        self._failing_accounts.pop(deployment_id, None)
        self._until_s[deployment_id] = self._unshared[deployment_id] = until_s
        self._reasons[deployment_id] = reason or why
        log.warning(
            "deployment.cooling",
            deployment=deployment_id,
            seconds=round(for_s),
            why=why,
            reason=reason,
        )

    def _failed_for(
        self, deployment_id: str, user_id: str, *, after: int, for_s: float, why: str
    ) -> None:
        pair = (deployment_id, user_id)
        failures = self._failures_of.pop(pair, 0) + 1
        if failures < after:
            _put(self._failures_of, pair, failures)
            return
        _put(self._until_s_of, pair, self._clock() + for_s)
        log.info(
            "deployment.cooling",
            deployment=deployment_id,
            user_id=user_id,
            seconds=round(for_s),
            why=why,
        )

    async def share(self) -> None:
        """Exchanges cooldowns with the other replicas until cancelled."""
        while True:
            await self._sleep(_SYNC_S)
            self._drop_expired()
            unshared, self._unshared = self._unshared, {}
            reasons, self._reasons = self._reasons, {}
            try:
                shared = await self._store.exchange(unshared, now_s=self._clock(), reasons=reasons)
            except RedisError as error:
                self._unshared = unshared | self._unshared
                self._reasons = reasons | self._reasons
                log.debug("cooldowns.not_shared", error=error)
                continue
            self._merge(shared)

    def _drop_expired(self) -> None:
        if self._until_s_of:
            now_s = self._clock()
            running = {pair: until for pair, until in self._until_s_of.items() if until > now_s}
            self._until_s_of = running

    def _merge(self, shared: Mapping[str, float]) -> None:
        """Keeps cooldowns that started here during the exchange."""
        now_s = self._clock()
        mine = self._until_s
        self._until_s = {
            id_: until_s
            for id_ in mine.keys() | shared.keys()
            if (until_s := max(mine.get(id_, 0.0), shared.get(id_, 0.0))) > now_s
        }


def _in_a_row(failures: int) -> str:
    return "it failed" if failures == 1 else f"it failed {failures} times in a row"


def _with_answer(reason: str, last_answer: str) -> str:
    return f"{reason}: {last_answer}" if last_answer else reason


def _put(pairs: dict[Pair, T], pair: Pair, value: T) -> None:
    """Adds the newest pair, and drops the oldest one above the bound."""
    pairs.pop(pair, None)
    if len(pairs) >= _MAX_PAIRS:
        del pairs[next(iter(pairs))]
    pairs[pair] = value
