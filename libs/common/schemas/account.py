"""Accounts: who pays. All keys of an account draw on its one pool."""

from datetime import datetime
from typing import Literal

import msgspec

BudgetPeriod = Literal["total", "daily", "weekly", "monthly"]
AccountStatus = Literal["active", "suspended"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit_nusd` may be spent within each period."""

    limit_nusd: int
    period: BudgetPeriod


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """`spent_nusd` is written by the ledger worker alone, everything else by the admin service."""

    user_id: str
    name: str
    status: AccountStatus = "active"
    budget: Budget | None = None
    metadata: dict[str, str] = {}
    spent_nusd: int = 0
    created_at: datetime
    updated_at: datetime
