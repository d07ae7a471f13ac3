"""Limits and the one budget, as the forms of accounts and of keys have them."""

from collections.abc import Sequence
from typing import Any, get_args

from htpy import Node, p

from libs.common.schemas.account import BudgetPeriod, Limits
from services.admin.budgets import BudgetView
from services.admin.console.form_fields import FormField

LIMITS = (
    FormField(
        path="limits.requests_per_minute", label="Requests a minute", kind="number", empty=None
    ),
    FormField(path="limits.tokens_per_minute", label="Tokens a minute", kind="number", empty=None),
    FormField(path="limits.parallel_calls", label="Calls at a time", kind="number", empty=None),
)  # fmt: skip


def budget_fields(label: str, explained: str = "") -> tuple[FormField, ...]:
    return (
        FormField(path="budget.limit_usd", label=label, kind="amount", help=explained),
        FormField(path="budget.period", label="Per", kind="choice", choices=get_args(BudgetPeriod)),
        FormField(
            path="budget.soft_limit_usd", label="Warn from, in USD", kind="amount", empty=None
        ),
    )


def limits_shown(limits: Limits, budgets: Sequence[BudgetView]) -> dict[str, Any]:
    """What is stored, by the fields' paths; of several budgets the form has none."""
    budget = budgets[0] if len(budgets) == 1 else None
    return {
        "limits.requests_per_minute": limits.requests_per_minute,
        "limits.tokens_per_minute": limits.tokens_per_minute,
        "limits.parallel_calls": limits.parallel_calls,
        "budget.limit_usd": budget and budget.limit_usd,
        "budget.period": budget and budget.period,
        "budget.soft_limit_usd": budget and budget.soft_limit_usd,
    }


def several_budgets(number: int) -> Node:
    """A form has room for one budget."""
    return (
        number > 1
        and p[
            f"Its {number} budgets are not in this form and stay as they are; the API changes them."
        ]
    )
