"""Admission while Redis is away: up to what was left, as far as this process can know.

A budget's use is the larger of what Redis last reported and what MongoDB has posted, plus all that
this process has admitted since. That part stays counted here until Redis has it. Replicas do not
know each other's part: each may use what was left.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Mapping, Sequence
from time import monotonic

import msgspec

from libs.common.cache import LoadingCache
from libs.common.errors import Unavailable
from libs.common.schemas.holds import Admitted, LimitScope, OverBudget, PeriodLimit
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.redis.shards import Shards
from services.gateway.admission.call_hold import CallHold
from services.gateway.admission.scopes import BudgetNow, budget_error
from services.gateway.admission.spend_reader import SpendReader
from services.gateway.calls.principal import Principal
from services.gateway.metrics import ADMITTED_WITHOUT_REDIS

_MAX_ACCOUNTS = 50_000
# How long Redis's last report counts; it includes what other replicas held.
_KNOWN_S = 300.0
_SPEND_TTL_S = 5.0

# (user_id, key_id); None for the account itself.
_Owner = tuple[str, str | None]
# What they used, in nano-USD.
ClosedCalls = Mapping[_Owner, int]


class _OwnHold(msgspec.Struct, frozen=True):
    """What an open call holds that was admitted while Redis was away."""

    owners: tuple[_Owner, ...]
    nusd: int


class _ReportedUse(msgspec.Struct):
    """The last spent + held that Redis reported, minus later releases, and when it expires."""

    nusd: int
    until: float


class WithoutRedis:
    """Observes every admission by Redis, to decide in its place while it is away."""

    def __init__(self, spend: SpendReader, shards: Shards, *, is_open: bool) -> None:
        self._reader = spend
        self._shard_of = shards.of
        self._is_open = is_open
        self._spend: LoadingCache[int] = LoadingCache(
            self._load_spend,
            max_items=_MAX_ACCOUNTS,
            ttl_s=_SPEND_TTL_S,
            negative_ttl_s=_SPEND_TTL_S,
        )
        # The one that was reported longest ago comes first.
        self._reported_use: OrderedDict[tuple[_Owner, str], _ReportedUse] = OrderedDict()
        # What this process's open calls hold, as far as Redis knows the holds.
        self._held: defaultdict[_Owner, int] = defaultdict(int)
        # By shard, since one may be away while the others are not.
        self._open: tuple[dict[str, _OwnHold], ...] = tuple({} for _ in range(shards.count))
        # What calls use that Redis does not know of, and the closed calls' part of it.
        self._own_use: Counter[_Owner] = Counter()
        self._closed_use: Counter[_Owner] = Counter()

    def observe_admission(self, hold: CallHold, admitted: Admitted) -> None:
        """Stores how the budgets stand after Redis has admitted the call."""
        until = monotonic() + _KNOWN_S
        for now, standing in zip(hold.budgets, admitted.standings, strict=True):
            owner = (hold.user_id, now.key_id)
            used = standing.spent_nusd + standing.held_nusd
            self._reported_use[owner, now.period] = _ReportedUse(used, until)
            self._reported_use.move_to_end((owner, now.period))
        while len(self._reported_use) > _MAX_ACCOUNTS:
            self._reported_use.popitem(last=False)
        _add(self._held, _owners(hold.call.principal), hold.nusd)

    async def admit(self, hold: CallHold) -> None:
        """Raises BudgetExceeded, or Unavailable if the policy is `closed`."""
        if not self._is_open:
            raise Unavailable("The gateway cannot check budgets at the moment. Try again soon.")
        spent = [await self._posted_spend(hold.call.principal, now) for now in hold.budgets]
        # From here on nothing may be awaited, or two calls could use the same room.
        for now, spent_nusd in zip(hold.budgets, spent, strict=True):
            owner = (hold.user_id, now.key_id)
            reported = self._reported_use.get((owner, now.period))
            used = spent_nusd + self._held.get(owner, 0)
            if reported is not None and monotonic() < reported.until:
                used = max(used, reported.nusd)
            used += self._own_use[owner]
            if used + hold.nusd > now.budget.limit_nusd:
                limit = PeriodLimit(now.period, now.budget.limit_nusd)
                refusal = OverBudget(
                    LimitScope(key_id=now.key_id), limit, spent_nusd, used - spent_nusd
                )
                raise budget_error(refusal, hold.budgets, hold.call.principal, hold.nusd)
        ADMITTED_WITHOUT_REDIS.inc()
        self._own_holds(hold)[hold.call.call_id] = _OwnHold(_owners(hold.call.principal), hold.nusd)
        _add(self._own_use, _owners(hold.call.principal), hold.nusd)

    def observe_close(self, hold: CallHold, cost_nusd: int) -> None:
        """Replaces the call's hold by its cost."""
        own_hold = self._own_holds(hold).pop(hold.call.call_id, None)
        if own_hold is not None:
            _add(self._own_use, own_hold.owners, cost_nusd - own_hold.nusd)
            _add(self._closed_use, own_hold.owners, cost_nusd)
            return
        _add(self._held, _owners(hold.call.principal), -hold.nusd)
        for now in hold.budgets:
            reported = self._reported_use.get(((hold.user_id, now.key_id), now.period))
            if reported is not None:
                reported.nusd += cost_nusd - hold.nusd

    def any_open(self, user_id: str) -> bool:
        """Whether calls of the account's shard are under way that Redis does not know of."""
        return bool(self._open[self._shard_of(user_id)])

    def observe_hold(self, hold: CallHold) -> None:
        """Moves the hold to those that Redis knows."""
        own_hold = self._own_holds(hold).pop(hold.call.call_id, None)
        if own_hold is not None:
            _add(self._own_use, own_hold.owners, -own_hold.nusd)
            _add(self._held, _owners(hold.call.principal), own_hold.nusd)

    def closed_calls(self) -> ClosedCalls:
        """What closed calls used that Redis did not know of at their ends."""
        return dict(self._closed_use)

    def observe_drained_spool(self, closed: ClosedCalls, except_shards: Collection[int]) -> None:
        """Redis now has the events and the costs of these calls, except for those shards."""
        for owner, nusd in closed.items():
            if self._shard_of(owner[0]) not in except_shards:
                _add(self._own_use, (owner,), -nusd)
                _add(self._closed_use, (owner,), -nusd)

    def lower_limits(self, user_id: str, scopes: list[LimitScope]) -> list[LimitScope]:
        """Subtracts from each budget what calls used that Redis does not know."""
        if not self._own_use:
            return scopes
        return [
            msgspec.structs.replace(
                scope,
                budgets=tuple(
                    PeriodLimit(budget.period, budget.limit - self._own_use[user_id, scope.key_id])
                    for budget in scope.budgets
                ),
            )
            for scope in scopes
        ]

    def _own_holds(self, hold: CallHold) -> dict[str, _OwnHold]:
        return self._open[self._shard_of(hold.user_id)]

    async def _posted_spend(self, principal: Principal, now: BudgetNow) -> int:
        first, last = now.days() or ("", "")
        user_id = principal.account.user_id
        try:
            spent = await self._spend.get(
                f"{user_id}|{now.key_id or ''}|{now.period}|{first}|{last}"
            )
        except PyMongoError:
            spent = None
        if spent is not None:
            return spent
        # Both stores are away, so the cached account is all that is known.
        is_total = now.period == "total" and now.key_id is None
        return principal.account.spent_nusd if is_total else 0

    async def _load_spend(self, name: str) -> int:
        user_id, key_id, period, first, last = name.split("|")
        days = (first, last) if first else None
        return (await self._reader.spent(user_id, key_id or None, period, days)).nusd


def _owners(principal: Principal) -> tuple[_Owner, ...]:
    user_id, key = principal.account.user_id, principal.key
    if key.budgets:
        return (user_id, None), (user_id, key.key_id)
    return ((user_id, None),)


def _add(amounts: dict[_Owner, int], owners: Sequence[_Owner], nusd: int) -> None:
    for owner in owners:
        amounts[owner] += nusd
        if amounts[owner] == 0:
            del amounts[owner]
