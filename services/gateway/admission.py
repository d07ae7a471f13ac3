"""Admits calls against their account's budgets and limits, and keeps their holds alive (P4)."""

import asyncio
from collections import Counter, defaultdict

import structlog

from libs.common.cache import LoadingCache
from libs.common.domain.holds import hold_nusd
from libs.common.errors import Unavailable
from libs.common.storage.event_queue import encode_event
from libs.common.storage.holds import (
    Admission,
    Admitted,
    HoldStore,
    Limited,
    OverBudget,
    PeriodLimit,
    Scope,
    Spent,
    Unseeded,
)
from libs.common.storage.ledger import LedgerStore, PeriodSpend
from libs.common.storage.mongo import Database, PyMongoError
from libs.common.storage.redis import RedisError
from services.gateway.breaker import Breaker
from services.gateway.call import Call
from services.gateway.clock import SharedClock
from services.gateway.directory import Principal
from services.gateway.metrics import ADMITTED_WITHOUT_REDIS, BUDGET_WARNINGS
from services.gateway.scopes import (
    BudgetNow,
    budgets_now,
    limited,
    over_budget,
    scopes_of,
    tightest,
    warnings,
)
from services.gateway.settings import Settings

log = structlog.get_logger(__name__)
_SPEND_TTL_S = 5.0
_RENEWALS_PER_LEASE = 3
# Accounts are noted for the sweep again after so many seconds, should Redis have lost them.
_NOTE_EVERY_S = 600.0


class Admissions:
    """The gate that every call passes before it is forwarded."""

    def __init__(
        self,
        holds: HoldStore,
        database: Database,
        breaker: Breaker,
        clock: SharedClock,
        settings: Settings,
    ) -> None:
        self._holds = holds
        self._ledger = LedgerStore(database)
        self._breaker = breaker
        self._clock = clock
        self._settings = settings
        self._open: dict[str, str] = {}
        self._noted: LoadingCache[bool] = LoadingCache(
            self._note, max_items=50_000, ttl_s=_NOTE_EVERY_S, negative_ttl_s=_NOTE_EVERY_S
        )
        # While Redis is away: spend as MongoDB knows it, and what this process holds on top.
        self._spend: LoadingCache[int] = LoadingCache(
            self._load_spend, max_items=10_000, ttl_s=_SPEND_TTL_S, negative_ttl_s=_SPEND_TTL_S
        )
        self._held_here: Counter[str] = Counter()

    async def admit(self, call: Call, principal: Principal) -> None:
        """Takes the call's hold. Raises BudgetExceeded, RateLimited, or Unavailable by policy."""
        amount = self._amount(call)
        budgets = budgets_now(principal, call.started_at)
        scopes = scopes_of(principal, budgets)
        if self._breaker.allows():
            try:
                admission = await self._decide(call, principal, amount, scopes, budgets)
            except RedisError as error:
                self._breaker.failed()
                log.warning("admission.redis_away", error=str(error))
            else:
                self._breaker.succeeded()
                self._obey(admission, call, principal, amount, scopes, budgets)
                return
        await self._admit_without_redis(call, principal, amount, budgets)

    def finished(self, call: Call) -> None:
        """The call needs no more renewals: its hold is the ledger's to release."""
        user_id = self._open.pop(call.call_id, None)
        if user_id is None:
            return
        self._held_here[user_id] -= 0 if call.held_nusd is None else call.held_nusd
        if self._held_here[user_id] <= 0:
            del self._held_here[user_id]

    async def renew_leases(self) -> None:
        """Runs until cancelled: prolongs the holds of calls that are under way."""
        lease_s = self._settings.hold_lease_s
        while True:
            await asyncio.sleep(lease_s / _RENEWALS_PER_LEASE)
            calls: defaultdict[str, list[str]] = defaultdict(list)
            for call_id, user_id in self._open.items():
                calls[user_id].append(call_id)
            try:
                for user_id, call_ids in calls.items():
                    await self._holds.renew(user_id, call_ids, lease_s=lease_s)
            except RedisError as error:
                log.warning("leases.not_renewed", error=str(error))

    async def _decide(
        self,
        call: Call,
        principal: Principal,
        amount: int,
        scopes: list[Scope],
        budgets: list[BudgetNow],
    ) -> Admission:
        user_id = principal.account.user_id
        call.held_nusd = amount
        event = encode_event(call.event(principal, "abandoned", 0))
        call.held_nusd = None
        await self._noted.get(user_id)
        for _ in range(2):
            admission = await self._holds.admit(
                user_id,
                call.call_id,
                hold_nusd=amount,
                tokens=call.input_tokens,
                lease_s=self._settings.hold_lease_s,
                scopes=scopes,
                event=event,
            )
            if not isinstance(admission, Unseeded):
                return admission
            await self._seed(user_id, budgets)
        raise Unavailable("The account's spend could not be read. Try again in a moment.")

    def _obey(
        self,
        admission: Admission,
        call: Call,
        principal: Principal,
        amount: int,
        scopes: list[Scope],
        budgets: list[BudgetNow],
    ) -> None:
        match admission:
            case OverBudget():
                raise over_budget(admission, budgets, principal, amount)
            case Limited():
                raise limited(admission, call.input_tokens)
            case Unseeded():
                raise AssertionError("seeded above")
            case Admitted():
                self._clock.learn(admission.now_ms)
                call.rate_window = tightest(scopes, admission.windows)
                call.budget_warnings = tuple(warnings(budgets, admission))
                if call.budget_warnings:
                    BUDGET_WARNINGS.inc()
                self._hold(call, principal, amount)

    async def _seed(self, user_id: str, budgets: list[BudgetNow]) -> None:
        try:
            spent = [await self._spent(user_id, now) for now in budgets]
        except PyMongoError as error:
            raise Unavailable("The gateway cannot read the account's spend.") from error
        await self._holds.seed(user_id, spent)

    async def _spent(self, user_id: str, now: BudgetNow) -> Spent:
        if now.key_id is None:
            found = await self._ledger.spend_with_revisions([user_id], [now.period])
            amount = found.get((user_id, now.period), PeriodSpend())
        else:
            amount = await self._ledger.key_spend_with_revision(user_id, now.key_id, now.days())
        return Spent(
            key_id=now.key_id, period=now.period, nusd=amount.nusd, revision=amount.revision
        )

    async def _note(self, user_id: str) -> bool:
        await self._holds.note_account(user_id)
        return True

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

    def _hold(self, call: Call, principal: Principal, amount: int) -> None:
        call.held_nusd = amount
        self._open[call.call_id] = principal.account.user_id
        self._held_here[principal.account.user_id] += amount

    async def _admit_without_redis(
        self, call: Call, principal: Principal, amount: int, budgets: list[BudgetNow]
    ) -> None:
        """Policy `open`: against what MongoDB says was spent and what this process holds."""
        if self._settings.admission_without_redis == "closed":
            raise Unavailable("The gateway cannot check budgets at the moment. Try again soon.")
        account = principal.account
        held = self._held_here[account.user_id]
        for now in budgets:
            first, last = now.days() or ("", "")
            try:
                spent = await self._spend.get(
                    f"{account.user_id}|{now.key_id or ''}|{now.period}|{first}|{last}"
                )
            except PyMongoError:
                # Both stores are away: the cached account is the last that is known.
                spent = account.spent_nusd if now.period == "total" and not now.key_id else 0
            if (spent or 0) + held + amount > now.budget.limit_nusd:
                limit = PeriodLimit(now.period, now.budget.limit_nusd)
                over = OverBudget(Scope(key_id=now.key_id), limit, spent or 0, held)
                raise over_budget(over, budgets, principal, amount)
        ADMITTED_WITHOUT_REDIS.inc()
        self._hold(call, principal, amount)

    async def _load_spend(self, name: str) -> int | None:
        user_id, key_id, period, first, last = name.split("|")
        if not key_id:
            return (await self._ledger.spend_of(user_id, [period]))[period]
        return await self._ledger.spend_of_key(user_id, key_id, (first, last) if first else None)
