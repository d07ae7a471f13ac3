"""Accounts: who pays. All keys of an account draw on its one pool."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from libs.common.schemas.price import AT_COST

BudgetPeriod = Literal["total", "daily", "weekly", "monthly"]
AccountStatus = Literal["active", "suspended", "archived"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit_nusd` may be spent within each period; from `soft_limit_nusd` on it warns.

    At each of `alert_percents` of the limit, and at the soft limit, operators are told.
    """

    limit_nusd: int
    period: BudgetPeriod
    soft_limit_nusd: int | None = None
    alert_percents: tuple[int, ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Within any 60 seconds, and at a time. None means unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_calls: int | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """`spent_nusd` is written by the ledger worker alone, everything else by the admin service.

    `provider_objects` are ids, or patterns such as `file-*`, of what the operator keeps at
    providers and the account may name.
    An `archived` one is suspended, and in no list that does not ask for it.
    `time_zone` (IANA) is where budget periods begin and end. Every budget has to have room. What
    the account is charged is the price times `price_multiplier`.
    """

    user_id: str
    name: str
    status: AccountStatus = "active"
    budgets: tuple[Budget, ...] = ()
    limits: Limits = Limits()
    time_zone: str = "UTC"
    price_multiplier: Decimal = AT_COST
    metadata: dict[str, str] = {}
    provider_objects: tuple[str, ...] = ()
    spent_nusd: int = 0
    revision: str = ""
    created_at: datetime
    updated_at: datetime


class AccountName(msgspec.Struct, frozen=True, kw_only=True):
    """The fields by which accounts are searched."""

    user_id: str
    name: str
    status: AccountStatus = "active"


class BudgetedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an account that its forecast needs, beside its spend."""

    user_id: str
    budgets: tuple[Budget, ...]
    time_zone: str = "UTC"
    created_at: datetime
