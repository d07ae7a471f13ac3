"""Refuses a call before its body has arrived, if its limits refuse it whatever the body is.

Used only for bodies that are still arriving, since it takes a round trip of its own. It takes no
hold: a call that passes must still be admitted.
"""

from collections.abc import Iterator, Sequence

from libs.common.errors import Unavailable
from libs.common.schemas.holds import Limited, LimitKind, LimitScope, OverBudget
from libs.common.storage.redis.breakers import Breakers
from libs.common.storage.redis.standings import ScopeStanding
from services.gateway.admission.scopes import budget_error, budgets_now, limit_error, scopes_of
from services.gateway.admission.standings import Standings
from services.gateway.calls.call import Call

# How long the earlier bodies take to arrive is not known.
_WAIT_MS = 1_000


class EarlyRefusals:
    """Checks limits in Redis. If Redis does not answer, every call passes."""

    def __init__(self, standings: Standings, breakers: Breakers) -> None:
        self._standings = standings
        self._breakers = breakers

    async def check(self, call: Call, places: Sequence[int]) -> None:
        """`places` are the numbers of arriving bodies, this one included, of the account and key.

        Each counts as a request. Raises BudgetExceeded or RateLimited.
        """
        principal = call.principal
        budgets = budgets_now(principal, call.started_at)
        scopes = scopes_of(principal, budgets)
        user_id = principal.account.user_id
        if self._breakers.of(user_id).is_open or not any(map(_is_limited, scopes)):
            return
        try:
            standings = await self._standings.of(user_id, scopes, budgets)
        except Unavailable:
            return
        if standings is None:
            return
        for scope, standing, place in zip(scopes, standings, places, strict=False):
            for refusal in _reached_limits(scope, standing, place):
                raise limit_error(refusal, 0)
        for scope, standing in zip(scopes, standings, strict=True):
            for budget, spent_nusd in zip(scope.budgets, standing.spent_nusd, strict=True):
                if spent_nusd + standing.held_nusd >= budget.limit:
                    over = OverBudget(scope, budget, spent_nusd, standing.held_nusd)
                    raise budget_error(over, budgets, principal, None)


def _is_limited(scope: LimitScope) -> bool:
    return bool(scope.budgets) or max(scope.requests, scope.tokens, scope.parallel) >= 0


def _reached_limits(scope: LimitScope, standing: ScopeStanding, place: int) -> Iterator[Limited]:
    """Yields the limits that are reached, in the order in which admission checks them."""
    others = place - 1
    wait_ms = standing.requests_reset_ms or _WAIT_MS
    rows: tuple[tuple[LimitKind, int, int, int], ...] = (
        ("parallel", scope.parallel, standing.parallel + others, _WAIT_MS),
        ("requests", scope.requests, standing.requests + others, wait_ms),
        ("tokens", scope.tokens, standing.tokens, wait_ms),
    )
    for kind, limit, used, wait in rows:
        if 0 <= limit <= used:
            yield Limited(scope, kind, used, wait)
