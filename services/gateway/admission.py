"""Admits calls against their account's budget and keeps their holds alive (P4)."""

import asyncio
from collections import Counter
from datetime import datetime
from time import time

import structlog

from libs.common.cache import LoadingCache
from libs.common.domain.holds import hold_nusd
from libs.common.domain.money import nusd_to_usd
from libs.common.domain.periods import period_end, period_key
from libs.common.errors import AppError, BudgetExceeded, Unavailable
from libs.common.schemas.account import Account
from libs.common.storage.holds import Admission, HoldStore, OverBudget, PeriodLimit, Unseeded
from libs.common.storage.ledger import LedgerStore
from libs.common.storage.mongo import Database, PyMongoError
from libs.common.storage.redis import RedisError
from services.gateway.breaker import Breaker
from services.gateway.call import Call
from services.gateway.metrics import ADMITTED_WITHOUT_REDIS
from services.gateway.settings import Settings

log = structlog.get_logger(__name__)
_SPEND_TTL_S = 5.0
_RENEWALS_PER_LEASE = 3


class Admissions:
    """The gate that every call passes before it is forwarded."""

    def __init__(
        self, holds: HoldStore, database: Database, breaker: Breaker, settings: Settings
    ) -> None:
        self._holds = holds
        self._ledger = LedgerStore(database)
        self._breaker = breaker
        self._settings = settings
        self._open: dict[str, str] = {}
        # While Redis is away: spend as MongoDB knows it, and what this process holds on top.
        self._spend: LoadingCache[int] = LoadingCache(
            self._load_spend, max_items=10_000, ttl_s=_SPEND_TTL_S, negative_ttl_s=_SPEND_TTL_S
        )
        self._held_here: Counter[str] = Counter()

    async def admit(self, call: Call, account: Account) -> None:
        """Takes the call's hold. Raises BudgetExceeded, or Unavailable by policy."""
        amount = self._amount(call)
        limits = _limits(account, call.started_at)
        if self._breaker.allows():
            try:
                admission = await self._decide(account.user_id, call.call_id, amount, limits)
            except RedisError as error:
                self._breaker.failed()
                log.warning("admission.redis_away", error=str(error))
            else:
                self._breaker.succeeded()
                if isinstance(admission, OverBudget):
                    raise _over_budget(account, admission, amount, call.started_at)
                self._hold(call, account, amount)
                return
        await self._admit_without_redis(account, amount, limits, call)

    def finished(self, call: Call, account: Account) -> None:
        """The call needs no more renewals: its hold is the ledger's to release."""
        if self._open.pop(call.call_id, None) is None:
            return
        self._held_here[account.user_id] -= call.held_nusd or 0
        if self._held_here[account.user_id] <= 0:
            del self._held_here[account.user_id]

    async def renew_leases(self) -> None:
        """Runs until cancelled: prolongs the holds of calls that are under way."""
        lease_s = self._settings.hold_lease_s
        while True:
            await asyncio.sleep(lease_s / _RENEWALS_PER_LEASE)
            calls = [(user_id, call_id) for call_id, user_id in self._open.items()]
            if not calls:
                continue
            try:
                await self._holds.renew(calls, now_ms=int(time() * 1000), lease_s=lease_s)
            except RedisError as error:
                log.warning("leases.not_renewed", calls=len(calls), error=str(error))

    async def _decide(
        self, user_id: str, call_id: str, amount: int, limits: list[PeriodLimit]
    ) -> Admission:
        for _ in range(2):
            admission = await self._holds.admit(
                user_id,
                call_id,
                hold_nusd=amount,
                lease_s=self._settings.hold_lease_s,
                limits=limits,
            )
            if not isinstance(admission, Unseeded):
                return admission
            await self._seed(user_id, [limit.period for limit in limits])
        raise Unavailable("The account's spend could not be read. Try again in a moment.")

    async def _seed(self, user_id: str, periods: list[str]) -> None:
        try:
            spent = await self._ledger.spend_of(user_id, periods)
        except PyMongoError as error:
            raise Unavailable("The gateway cannot read the account's spend.") from error
        await self._holds.seed(user_id, spent)

    def _amount(self, call: Call) -> int:
        """What the dearest of the deployments that may serve the call would cost."""
        request = call.request
        if request is None or not call.prices:
            raise AssertionError("a call is decoded and priced before it is admitted")
        limit = request.max_output_tokens
        # A limit that is no limit, such as a negative one, is the provider's to refuse.
        asked = self._settings.default_max_output_tokens if limit is None else max(limit, 1)
        amounts = []
        for price in call.prices.values():
            most = price.max_output_tokens
            output = asked if most is None else min(asked, most)
            amounts.append(
                hold_nusd(
                    price,
                    input_tokens=call.input_tokens,
                    output_tokens=output * max(request.answers, 1),
                    service_tier=request.service_tier,
                )
            )
        return max(amounts)

    def _hold(self, call: Call, account: Account, amount: int) -> None:
        call.held_nusd = amount
        self._open[call.call_id] = account.user_id
        self._held_here[account.user_id] += amount

    async def _admit_without_redis(
        self, account: Account, amount: int, limits: list[PeriodLimit], call: Call
    ) -> None:
        """Policy `open`: against what MongoDB says was spent and what this process holds."""
        if self._settings.admission_without_redis == "closed":
            raise Unavailable("The gateway cannot check budgets at the moment. Try again soon.")
        held = self._held_here[account.user_id]
        for limit in limits:
            try:
                spent = await self._spend.get(f"{account.user_id}|{limit.period}")
            except PyMongoError:
                # Both stores are away: the cached account is the last that is known.
                spent = account.spent_nusd if limit.period == "total" else 0
            if (spent or 0) + held + amount > limit.limit_nusd:
                over = OverBudget(limit, spent or 0, held)
                raise _over_budget(account, over, amount, call.started_at)
        ADMITTED_WITHOUT_REDIS.inc()
        self._hold(call, account, amount)

    async def _load_spend(self, key: str) -> int | None:
        user_id, _, period = key.partition("|")
        return (await self._ledger.spend_of(user_id, [period]))[period]


def _limits(account: Account, at: datetime) -> list[PeriodLimit]:
    budget = account.budget
    if budget is None:
        return []
    return [PeriodLimit(period_key(budget.period, at), budget.limit_nusd)]


def _over_budget(account: Account, over: OverBudget, amount: int, at: datetime) -> AppError:
    budget = account.budget
    ends = None if budget is None else period_end(budget.period, at)
    until = "has no end" if ends is None else f"ends at {ends.isoformat()}"
    limit, spent, held, hold = (
        nusd_to_usd(nusd)
        for nusd in (over.budget.limit_nusd, over.spent_nusd, over.held_nusd, amount)
    )
    return BudgetExceeded(
        f"The budget of account '{account.user_id}' has no room for this call: limit {limit:f} "
        f"USD, spent {spent:f}, held by calls under way {held:f}, this call may cost up to "
        f"{hold:f}. The period '{over.budget.period}' {until}. Lower the call's token limit, or "
        "ask your administrator to raise the budget."
    )
