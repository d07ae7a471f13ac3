"""Accounts: the list, and one with its budgets, keys and latest calls."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from htpy import Node, a, div, p

from libs.common.domain.periods import zone_of
from libs.common.schemas.account import AccountStatus
from services.admin import accounts, corrections, keys, usage, usage_series
from services.admin.accounts import AccountView
from services.admin.budget_spend import BudgetSpend
from services.admin.console.bars import meter
from services.admin.console.calls_table import calls_table
from services.admin.console.elements import (
    NOTHING,
    Column,
    facts,
    link,
    mono,
    panel,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment
from services.admin.console.pages.keys import keys_table
from services.admin.console.spend_chart import CHART_DAYS, last_days, outlook_words, spend_chart

_SORT = (
    "Order",
    {
        "": "by id",
        "-user_id": "by id, backwards",
        "-created_at": "newest first",
        "created_at": "oldest first",
    },
)


async def list_page(view: View) -> Shown:
    page = await view.api.call(accounts.list_accounts, query=view.query)
    columns = (
        Column("Account"), Column("Name"), Column("Status"), Column("Spent in all", "number"),
        Column("Held", "number"), Column("Budget"), Column("Left", "number"),
    )  # fmt: skip
    rows = [_row(account) for account in page.data]
    empty = div[
        p["No account matches. An account is what a budget belongs to; keys belong to accounts."],
        _new_link(view),
    ]
    return ConsolePage(
        name="Accounts",
        content=panel(
            "All accounts",
            filters(view, {"q": "Search"}, {"status": ("Status", AccountStatus), "sort": _SORT}),
            rows_table("Accounts", columns, rows, empty=empty),
            view.pager(page),
            actions=_new_link(view),
        ),
    )


def _row(account: AccountView) -> list[Node]:
    spend = account.spend
    budget = spend.budgets[0] if spend.budgets else None
    return [
        link(f"/console/accounts/{segment(account.user_id)}", account.user_id),
        account.name,
        status_badge(account.status),
        usd(spend.total_usd),
        usd(spend.held_usd),
        "none" if budget is None else [usd(budget.limit_usd), f" {account.budgets[0].period}"],
        NOTHING if budget is None else usd(budget.remaining_usd),
    ]


def _new_link(view: View) -> Node:
    may = view.api.may(accounts.create_account)
    return may and a(".button.primary", href="/console/new/account")["New account"]


async def show_page(view: View) -> Shown:
    user_id = view.request.path_params["user_id"]
    account, its_keys, calls = await asyncio.gather(
        view.api.call(accounts.show_account, user_id=user_id),
        view.api.call(keys.list_keys, query={"user_id": user_id, "limit": 20}),
        view.api.call(usage.show_usage, query={"limit": 10}, user_id=user_id),
    )
    now = view.now.astimezone(zone_of(account.time_zone))
    series = await view.api.call(
        usage_series.show_series, query={"user_id": user_id, **last_days(now)}
    )
    at = f"/console/accounts/{segment(user_id)}"
    return ConsolePage(
        name=account.name,
        content=[
            div(".columns")[
                panel(
                    "Account",
                    _facts(view, account),
                    actions=_actions(view, user_id),
                ),
                panel("Budgets", *_budgets(view, account)),
            ],
            panel(
                f"Spent in {CHART_DAYS} days",
                spend_chart(series.total),
                actions=link(f"{at}/statements/{view.now:%Y-%m}", "Statement of this month"),
            ),
            panel(
                "Keys",
                keys_table(view, its_keys.data),
                actions=view.api.may(keys.create_key)
                and a(".button", href=f"/console/new/key?user_id={segment(user_id)}")["New key"],
            ),
            panel(
                "Latest calls",
                calls_table(view, calls.data),
                actions=link(f"/console/calls?user_id={segment(user_id)}", "All calls"),
            ),
        ],
    )


def _actions(view: View, user_id: str) -> Node:
    quoted_id = segment(user_id)
    return [
        view.api.may(accounts.change_account)
        and a(".button", href=f"/console/edit/account/{quoted_id}")["Change"],
        view.api.may(corrections.create_correction)
        and a(".button", href=f"/console/new/correction?user_id={quoted_id}")["Credit"],
    ]


def _facts(view: View, account: AccountView) -> Node:
    limits = account.limits
    return facts(
        [
            ("Id", mono(account.user_id)),
            ("Status", status_badge(account.status)),
            ("Spent in all", usd(account.spend.total_usd)),
            ("Held by calls under way", usd(account.spend.held_usd)),
            ("Time zone", account.time_zone),
            ("Price multiplier", str(account.price_multiplier)),
            ("Requests a minute", _limit(limits.requests_per_minute)),
            ("Tokens a minute", _limit(limits.tokens_per_minute)),
            ("Calls at a time", _limit(limits.parallel_calls)),
            ("Created", when(account.created_at, view.zone)),
            ("Changed", when(account.updated_at, view.zone)),
        ]
    )


def _limit(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit:,}"


def _budgets(view: View, account: AccountView) -> list[Node]:
    if not account.budgets:
        return [p(".empty")["No budget: its calls are not bounded by money. Change it to set one."]]
    held = account.spend.held_usd or Decimal(0)
    return [
        _budget(view, budget.period, spend, held)
        for budget, spend in zip(account.budgets, account.spend.budgets, strict=True)
    ]


def _budget(view: View, period: str, spend: BudgetSpend, held: Decimal) -> Node:
    return div[
        p[
            usd(spend.spent_usd), " of ", usd(spend.limit_usd), f" {period}, ",
            usd(spend.remaining_usd), " left",
            [", until ", when(spend.ends_at, view.zone)] if spend.ends_at else None,
            ". At today's pace it ", outlook_words(spend, view.zone), ".",
        ],
        meter(period, spend.spent_usd, held, spend.limit_usd),
    ]  # fmt: skip


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/accounts": {"GET": list_page},
    "/console/accounts/{user_id}": {"GET": show_page},
}
