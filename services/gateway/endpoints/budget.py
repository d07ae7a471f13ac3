"""`GET /v1/budget`: the budgets and limits of the caller's account and key.

Amounts are exact JSON numbers in USD. What only Redis knows is null while it is away.
"""

from datetime import datetime
from decimal import Decimal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import nusd_to_usd
from libs.common.schemas.account import BudgetPeriod
from libs.common.schemas.holds import LimitScope
from libs.common.storage.redis.standings import ScopeStanding
from libs.common.web.json import json_response
from services.gateway.admission.scopes import BudgetNow, budgets_now, scope_of
from services.gateway.admission.standings import Standings
from services.gateway.calls.principal import Principal
from services.gateway.endpoints.models import caller

_MS = 1000


class OwnBudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """`remaining_usd` is below 0 where a limit was lowered below the amount spent."""

    period: BudgetPeriod
    current: str
    ends_at: datetime | None
    limit_usd: Decimal
    soft_limit_usd: Decimal | None
    spent_usd: Decimal
    held_usd: Decimal | None
    remaining_usd: Decimal | None


class LimitView(msgspec.Struct, frozen=True, kw_only=True):
    """`reset_s` is when the oldest call leaves the minute."""

    limit: int
    remaining: int | None
    reset_s: float | None = None


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """null means unlimited."""

    requests_per_minute: LimitView | None
    tokens_per_minute: LimitView | None
    parallel_calls: LimitView | None


class OwnerView(msgspec.Struct, frozen=True, kw_only=True):
    budgets: tuple[OwnBudgetView, ...]
    limits: LimitsView


class OwnAccountView(OwnerView, frozen=True, kw_only=True):
    user_id: str
    time_zone: str


class OwnKeyView(OwnerView, frozen=True, kw_only=True):
    key_id: str
    name: str
    expires_at: datetime | None


class OwnBudgetsView(msgspec.Struct, frozen=True, kw_only=True):
    """A call needs room in every budget of both."""

    account: OwnAccountView
    key: OwnKeyView


async def show_budget(request: Request) -> Response:
    standings: Standings = request.state.standings
    principal, at = await caller(request)
    return json_response(await show_standing(standings, principal, at))


async def show_standing(standings: Standings, principal: Principal, at: datetime) -> OwnBudgetsView:
    account, key = principal.account, principal.key
    budgets = budgets_now(principal, at)
    scopes = [
        scope_of(None, account.limits, budgets),
        scope_of(key.key_id, key.limits, budgets),
    ]
    scope_standings = await standings.of(account.user_id, scopes, budgets)
    if scope_standings is None:
        spent = await standings.spent(account.user_id, budgets)
        held: list[int | None] = [None] * len(budgets)
    else:
        spent = [nusd for standing in scope_standings for nusd in standing.spent_nusd]
        held = [scope_standings[0 if now.key_id is None else 1].held_nusd for now in budgets]
    views = list(map(_budget_view, budgets, spent, held))
    split = len(account.budgets)
    return OwnBudgetsView(
        account=OwnAccountView(
            user_id=account.user_id,
            time_zone=account.time_zone,
            budgets=tuple(views[:split]),
            limits=_limits_view(scopes[0], None if scope_standings is None else scope_standings[0]),
        ),
        key=OwnKeyView(
            key_id=key.key_id,
            name=key.name,
            expires_at=key.expires_at,
            budgets=tuple(views[split:]),
            limits=_limits_view(scopes[1], None if scope_standings is None else scope_standings[1]),
        ),
    )


def _budget_view(now: BudgetNow, spent_nusd: int, held_nusd: int | None) -> OwnBudgetView:
    budget = now.budget
    remaining_nusd = None if held_nusd is None else budget.limit_nusd - spent_nusd - held_nusd
    return OwnBudgetView(
        period=budget.period,
        current=now.period,
        ends_at=now.ends_at(),
        limit_usd=nusd_to_usd(budget.limit_nusd),
        soft_limit_usd=_usd(budget.soft_limit_nusd),
        spent_usd=nusd_to_usd(spent_nusd),
        held_usd=_usd(held_nusd),
        remaining_usd=_usd(remaining_nusd),
    )


def _limits_view(scope: LimitScope, standing: ScopeStanding | None) -> LimitsView:
    def view(limit: int, used: int | None, reset_s: float | None = None) -> LimitView | None:
        if limit < 0:
            return None
        remaining = None if used is None else max(limit - used, 0)
        return LimitView(limit=limit, remaining=remaining, reset_s=reset_s)

    if standing is None:
        return LimitsView(
            requests_per_minute=view(scope.requests, None),
            tokens_per_minute=view(scope.tokens, None),
            parallel_calls=view(scope.parallel, None),
        )
    reset_s = standing.requests_reset_ms / _MS
    return LimitsView(
        requests_per_minute=view(scope.requests, standing.requests, reset_s),
        tokens_per_minute=view(scope.tokens, standing.tokens, reset_s),
        parallel_calls=view(scope.parallel, standing.parallel),
    )


def _usd(nusd: int | None) -> Decimal | None:
    return None if nusd is None else nusd_to_usd(nusd)
