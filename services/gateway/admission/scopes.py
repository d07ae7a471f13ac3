"""The limits of a call: the budgets and rates of its account, and those of its key."""

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

import msgspec

from libs.common.domain.money import usd_text
from libs.common.domain.periods import days_of, period_end, period_key, zone_of
from libs.common.errors import AppError, BudgetExceeded, RateLimit, RateLimited, TooManyTokens
from libs.common.schemas.account import Budget, Limits
from libs.common.schemas.holds import (
    NO_LIMIT,
    Admitted,
    Limited,
    LimitScope,
    OverBudget,
    PeriodLimit,
    Window,
)
from services.gateway.calls.principal import Principal

_MS = 1000
_MAX_KEPT = 10_000


class BudgetNow(msgspec.Struct, frozen=True, kw_only=True):
    """A budget in its current period, which is the one that holds `at`."""

    key_id: str | None
    budget: Budget
    at: datetime
    zone: tzinfo
    period: str

    def ends_at(self) -> datetime | None:
        return period_end(self.budget.period, self.at, self.zone)

    def days(self) -> tuple[str, str] | None:
        """The first and last day that a key's spend is summed over; None for all days."""
        return days_of(self.period)


def budgets_now(principal: Principal, at: datetime) -> list[BudgetNow]:
    """The account's budgets and then the key's, in the order of `scopes_of`."""
    zone = zone_of(principal.account.time_zone)
    owners = ((None, principal.account.budgets), (principal.key.key_id, principal.key.budgets))
    return [
        BudgetNow(
            key_id=key_id,
            budget=budget,
            at=at,
            zone=zone,
            period=period_key(budget.period, at, zone),
        )
        for key_id, budgets in owners
        for budget in budgets
    ]


class ScopesNow(msgspec.Struct, frozen=True, kw_only=True):
    """Of a principal, from the call that they were made for until the first period ends."""

    principal: Principal
    since: datetime
    until: datetime | None
    budgets: list[BudgetNow]
    scopes: list[LimitScope]
    # Whether a scope has a limit by the minute, and a budget a soft limit.
    has_rates: bool
    has_soft_limits: bool

    def hold_for(self, principal: Principal, at: datetime) -> bool:
        """Whether nothing has changed; accounts and keys are never altered, only replaced."""
        return (
            self.principal.account is principal.account
            and self.principal.key is principal.key
            and self.since <= at
            and (self.until is None or at < self.until)
        )


class CurrentScopes:
    """The budgets and scopes of principals, which are the same for nearly all of their calls."""

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._cache: dict[str, ScopesNow] = {}

    def of(self, principal: Principal, at: datetime) -> ScopesNow:
        # Not by the key's id: two secrets of one key may be in use.
        secret_hash = principal.key.secret_hash
        entry = self._cache.get(secret_hash)
        if entry is not None and entry.hold_for(principal, at):
            return entry
        budgets = budgets_now(principal, at)
        ends = [end for now in budgets if (end := now.ends_at()) is not None]
        if len(self._cache) >= self._max_kept:
            self._cache.clear()
        scopes = scopes_of(principal, budgets)
        current = self._cache[secret_hash] = ScopesNow(
            principal=principal,
            since=at,
            until=min(ends, default=None),
            budgets=budgets,
            scopes=scopes,
            has_rates=any(map(_has_rates, scopes)),
            has_soft_limits=any(now.budget.soft_limit_nusd is not None for now in budgets),
        )
        return current


def scopes_of(principal: Principal, budgets: list[BudgetNow]) -> list[LimitScope]:
    """The account's scope, and the key's where it has limits of its own."""
    key = principal.key
    scopes = [scope_of(None, principal.account.limits, budgets)]
    if key.budgets or key.limits != Limits():
        scopes.append(scope_of(key.key_id, key.limits, budgets))
    return scopes


def scope_of(key_id: str | None, limits: Limits, budgets: list[BudgetNow]) -> LimitScope:
    """The scope of an account (key_id None) or a key, as the scripts take it."""
    return LimitScope(
        key_id=key_id,
        requests=_limit(limits.requests_per_minute),
        tokens=_limit(limits.tokens_per_minute),
        parallel=_limit(limits.parallel_calls),
        budgets=tuple(
            PeriodLimit(now.period, now.budget.limit_nusd)
            for now in budgets
            if now.key_id == key_id
        ),
    )


def _limit(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit


def budget_error(
    refusal: OverBudget, budgets: Sequence[BudgetNow], principal: Principal, hold_nusd: int | None
) -> AppError:
    """States how the budget stands, what the call would hold (None: not known) and what to do."""
    now = next(
        b for b in budgets if b.key_id == refusal.scope.key_id and b.period == refusal.budget.period
    )
    owner = "this API key" if now.key_id else f"account '{principal.account.user_id}'"
    ends_at = now.ends_at()
    until = "has no end" if ends_at is None else f"ends at {ends_at.isoformat()}"
    # The limit that Redis got was lowered by what calls use that it does not know of.
    held_nusd = refusal.held_nusd + now.budget.limit_nusd - refusal.budget.limit
    limit, spent, held = (
        usd_text(nusd) for nusd in (now.budget.limit_nusd, refusal.spent_nusd, held_nusd)
    )
    hold = "" if hold_nusd is None else f", this call may cost up to {usd_text(hold_nusd)}"
    return BudgetExceeded(
        f"The budget of {owner} has no room for this call: limit {limit} USD, spent {spent}, "
        f"held by calls under way {held}{hold}. The period "
        f"'{now.period}' {until}. Lower the call's token limit, or ask your administrator to "
        "raise the budget."
    )


def limit_error(refusal: Limited, tokens: int) -> RateLimited:
    """With an exact `retry-after`, or TooManyTokens for a call that can never fit."""
    limits = _exhausted_limits(refusal)
    owner = "this API key" if refusal.scope.key_id else "the account"
    wait_s = -(-refusal.wait_ms // _MS)
    limit, unit = {
        "requests": (refusal.scope.requests, "requests per minute"),
        "tokens": (refusal.scope.tokens, "tokens per minute"),
        "parallel": (refusal.scope.parallel, "calls at a time"),
    }[refusal.kind]
    if refusal.kind == "tokens" and tokens > limit:
        return TooManyTokens(
            f"This call needs about {tokens} tokens, and {owner} may use {limit} per minute. "
            "Shorten the prompt, or ask your administrator to raise the limit.",
            limits=limits,
        )
    return RateLimited(
        f"Rate limit: {owner} may have {limit} {unit}, of which {refusal.used} are used. Try "
        f"again in {wait_s} s.",
        retry_after_s=wait_s,
        limits=limits,
    )


def _exhausted_limits(refusal: Limited) -> tuple[RateLimit, ...]:
    """Of the minute, whose other limit is not known; empty for calls at a time."""
    scope, wait_ms = refusal.scope, refusal.wait_ms
    match refusal.kind:
        case "requests":
            return (RateLimit("requests", scope.requests, 0, wait_ms),)
        case "tokens":
            left = max(scope.tokens - refusal.used, 0)
            return (RateLimit("tokens", scope.tokens, left, wait_ms),)
        case "parallel":
            return ()


def warnings(budgets: list[BudgetNow], admitted: Admitted) -> Iterator[str]:
    """One line for each budget whose soft limit is reached."""
    for now, standing in zip(budgets, admitted.standings, strict=True):
        soft_limit_nusd = now.budget.soft_limit_nusd
        used = standing.spent_nusd + standing.held_nusd
        if soft_limit_nusd is not None and used >= soft_limit_nusd:
            yield (
                f"{'key' if now.key_id else 'account'} budget '{now.period}': "
                f"{usd_text(used)} of {usd_text(now.budget.limit_nusd)} USD used"
            )


def tightest_limits(scopes: list[LimitScope], windows: tuple[Window, ...]) -> tuple[RateLimit, ...]:
    """The limits of the scope whose minute has the least room for requests, else tokens."""
    rows = [
        (scope, window) for scope, window in zip(scopes, windows, strict=True) if _has_rates(scope)
    ]
    if not rows:
        return ()
    scope, window = min(rows, key=_room)
    limits = (
        RateLimit("requests", scope.requests, window.requests_left, window.requests_reset_ms),
        RateLimit("tokens", scope.tokens, window.tokens_left, window.tokens_reset_ms),
    )
    return tuple(each for each in limits if each.limit != NO_LIMIT)


def _has_rates(scope: LimitScope) -> bool:
    return scope.requests != NO_LIMIT or scope.tokens != NO_LIMIT


def _room(row: tuple[LimitScope, Window]) -> tuple[int, int]:
    scope, window = row
    unlimited = 2**53
    return (
        unlimited if scope.requests == NO_LIMIT else window.requests_left,
        unlimited if scope.tokens == NO_LIMIT else window.tokens_left,
    )
