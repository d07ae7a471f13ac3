"""Budgets and limits in the bodies and answers of accounts and keys."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from libs.common.domain.money import nusd_to_usd, usd_to_nusd
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.account import Budget, BudgetPeriod, Limits
from services.admin.fields import LimitUsd
from services.admin.validation import FieldRule

_MAX_PERCENTS = 10


def _percents(values: tuple[int, ...], _: datetime) -> str | None:
    if any(not 1 <= value <= 100 for value in values):
        return "must be whole percentages from 1 to 100"
    return None if len(set(values)) == len(values) else "names a percentage twice"


AlertPercents = Annotated[tuple[int, ...], Meta(max_length=_MAX_PERCENTS), FieldRule(_percents)]
LimitNumber = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class BudgetBody(msgspec.Struct, frozen=True, kw_only=True):
    """From `soft_limit_usd` on, calls carry a warning; at `limit_usd` they are rejected.

    Receivers of alerts are told once a period at each of `alert_percents` of the limit, and at the
    soft limit.
    """

    limit_usd: LimitUsd
    period: BudgetPeriod
    soft_limit_usd: LimitUsd | None = None
    alert_percents: AlertPercents = ()


Budgets = Annotated[tuple[BudgetBody, ...], Meta(max_length=4)]


class LimitsBody(msgspec.Struct, frozen=True, kw_only=True):
    """null means unlimited."""

    requests_per_minute: LimitNumber | None = None
    tokens_per_minute: LimitNumber | None = None
    parallel_calls: LimitNumber | None = None


class LimitsChanges(msgspec.Struct, frozen=True, kw_only=True):
    """An absent limit stays as it is, null removes it."""

    requests_per_minute: LimitNumber | UnsetType | None = UNSET
    tokens_per_minute: LimitNumber | UnsetType | None = UNSET
    parallel_calls: LimitNumber | UnsetType | None = UNSET


class BudgetChanges(msgspec.Struct, frozen=True, kw_only=True):
    """Of the one budget; an absent field stays as it is."""

    limit_usd: LimitUsd | UnsetType = UNSET
    period: BudgetPeriod | UnsetType = UNSET
    soft_limit_usd: LimitUsd | UnsetType | None = UNSET
    alert_percents: AlertPercents | UnsetType = UNSET


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    limit_usd: Decimal
    period: BudgetPeriod
    soft_limit_usd: Decimal | None
    alert_percents: tuple[int, ...]


def budgets_of(bodies: Sequence[BudgetBody]) -> tuple[Budget, ...]:
    """At most one per period. Raises ValidationFailed with every problem."""
    problems: list[FieldError] = []
    periods = [body.period for body in bodies]
    for place, body in enumerate(bodies):
        if body.period in periods[:place]:
            problems.append(
                FieldError(f"budgets[{place}].period", f"repeats the period {body.period}")
            )
        problems += _soft_problems(body, f"budgets[{place}]")
    if problems:
        raise ValidationFailed(problems)
    return tuple(map(_budget, bodies))


def budget_of(body: BudgetBody) -> Budget:
    """Of the field `budget`. Raises ValidationFailed."""
    problems = _soft_problems(body, "budget")
    if problems:
        raise ValidationFailed(problems)
    return _budget(body)


def limits_of(body: LimitsBody | None) -> Limits:
    return Limits() if body is None else Limits(**msgspec.structs.asdict(body))


def merged_limits(limits: Limits, changes: LimitsChanges | None) -> Limits:
    """None removes all of them."""
    if changes is None:
        return Limits()
    return msgspec.structs.replace(limits, **_given_fields(changes))


def merged_budget(budgets: Sequence[Budget], changes: BudgetChanges | None) -> tuple[Budget, ...]:
    """Without exactly one budget before, the changes are a new one. Raises ValidationFailed."""
    if changes is None:
        return ()
    fields = msgspec.structs.asdict(budget_view(budgets[0])) if len(budgets) == 1 else {}
    fields |= _given_fields(changes)
    missing = [name for name in ("limit_usd", "period") if name not in fields]
    if missing:
        raise ValidationFailed([FieldError(f"budget.{name}", "is required") for name in missing])
    return (budget_of(BudgetBody(**fields)),)


def _given_fields(changes: msgspec.Struct) -> dict[str, Any]:
    fields = msgspec.structs.asdict(changes)
    return {name: value for name, value in fields.items() if value is not UNSET}


def budget_view(budget: Budget) -> BudgetView:
    soft = budget.soft_limit_nusd
    return BudgetView(
        limit_usd=nusd_to_usd(budget.limit_nusd),
        period=budget.period,
        soft_limit_usd=None if soft is None else nusd_to_usd(soft),
        alert_percents=budget.alert_percents,
    )


def _soft_problems(body: BudgetBody, path: str) -> list[FieldError]:
    if body.soft_limit_usd is None or body.soft_limit_usd <= body.limit_usd:
        return []
    return [FieldError(f"{path}.soft_limit_usd", "must not exceed limit_usd")]


def _budget(body: BudgetBody) -> Budget:
    soft = body.soft_limit_usd
    return Budget(
        limit_nusd=usd_to_nusd(body.limit_usd),
        period=body.period,
        soft_limit_nusd=None if soft is None else usd_to_nusd(soft),
        alert_percents=tuple(sorted(body.alert_percents)),
    )
