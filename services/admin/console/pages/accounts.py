"""Accounts: the list, and one with its budgets, keys and latest calls."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

from htpy import Node, a, div, p

from libs.common.domain.periods import zone_of
from libs.common.errors import AppError, Conflict, PreconditionFailed, ValidationFailed
from libs.common.schemas.account import AccountStatus, BudgetPeriod
from services.admin import accounts, keys, usage, usage_series
from services.admin.accounts import AccountView
from services.admin.console.calls_table import calls_table
from services.admin.console.elements import (
    NOTHING,
    Column,
    facts,
    link,
    meter,
    mono,
    panel,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.form_fields import Field, Typed, body_of
from services.admin.console.forms import form_of, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for, go_to, segment
from services.admin.console.pages.keys import keys_table
from services.admin.console.spend_chart import CHART_DAYS, last_days, outlook_words, spend_chart
from services.admin.spend import BudgetSpend

_SETTINGS = (
    Field(path="name", label="Name"),
    Field(
        path="status", label="Status", kind="choice", choices=get_args(AccountStatus),
        required=True,
    ),
    Field(path="time_zone", label="Time zone", help="Days, weeks and months of its budgets."),
    Field(
        path="limits.requests_per_minute", label="Requests a minute", kind="number", empty=None
    ),
    Field(path="limits.tokens_per_minute", label="Tokens a minute", kind="number", empty=None),
    Field(path="limits.parallel_calls", label="Calls at a time", kind="number", empty=None),
)  # fmt: skip
_BUDGET = (
    Field(
        path="budget.limit_usd", label="Budget in USD", kind="amount",
        help="Calls are refused before they could pass it. Empty means no budget.",
    ),
    Field(path="budget.period", label="Per", kind="choice", choices=get_args(BudgetPeriod)),
    Field(path="budget.soft_limit_usd", label="Warn from, in USD", kind="amount", empty=None),
)  # fmt: skip
_SORT = (
    "Order",
    {
        "": "by id",
        "-user_id": "by id, backwards",
        "-created_at": "newest first",
        "created_at": "oldest first",
    },
)
_NEW = (
    Field(
        path="user_id", label="Account id", required=True,
        help="Letters, digits and . _ @ : + -, such as team-search. It cannot be changed later.",
    ),
    Field(path="name", label="Name", help="Shown in lists; the id by default."),
    *_BUDGET,
    Field(path="time_zone", label="Time zone", help="Such as Europe/Berlin; UTC by default."),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    listed = await view.api.call(accounts.list_accounts, query=view.query)
    columns = (
        Column("Account"), Column("Name"), Column("Status"), Column("Spent in all", "number"),
        Column("Held", "number"), Column("Budget"), Column("Left", "number"),
    )  # fmt: skip
    rows = [_row(account) for account in listed.data]
    empty = div[
        p["No account matches. An account is what a budget belongs to; keys belong to accounts."],
        _new_link(view),
    ]
    return Page(
        name="Accounts",
        content=panel(
            "All accounts",
            filters(view, {"q": "Search"}, {"status": ("Status", AccountStatus), "sort": _SORT}),
            rows_table("Accounts", columns, rows, empty=empty),
            view.pager(listed),
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


async def new_page(view: View, error: AppError | None = None) -> Shown:
    content = panel(
        "New account",
        form_of(
            view.path, view.session.csrf, _NEW, submit="Create the account", typed=view.typed,
            error=error, hidden=view.once(error),
        ),
    )  # fmt: skip
    return Page(name="New account", content=content, status=status_of(error))


async def create(view: View) -> Shown:
    try:
        account = await view.api.call(
            accounts.create_account, body=_body(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict) as error:
        return await new_page(view, error)
    return go_to(f"/console/accounts/{segment(account.user_id)}")


async def show_page(view: View) -> Shown:
    user_id = view.request.path_params["user_id"]
    account = await view.api.call(accounts.show_account, user_id=user_id)
    its_keys = await view.api.call(keys.list_keys, query={"user_id": user_id, "limit": 20})
    calls = await view.api.call(usage.show_usage, query={"limit": 10}, user_id=user_id)
    now = view.now.astimezone(zone_of(account.time_zone))
    series = await view.api.call(
        usage_series.show_series, query={"user_id": user_id, **last_days(now)}
    )
    at = f"/console/accounts/{segment(user_id)}"
    return Page(
        name=account.name,
        content=[
            div(".columns")[
                panel(
                    "Account",
                    _facts(view, account),
                    actions=view.api.may(accounts.change_account)
                    and a(".button", href=f"/console/edit/account/{segment(user_id)}")["Change"],
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


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    user_id = view.request.path_params["user_id"]
    answer = await view.api.answer(accounts.show_account, user_id=user_id)
    stored = _typed(answer.content)
    fields = _fields(answer.content)
    form = form_of(
        view.path, view.session.csrf, fields, submit="Save", typed=view.typed or stored,
        error=error, hidden={"etag": view.etag(answer, raced=raced)}, now=stored if raced else None,
    )  # fmt: skip
    return Page(
        name=f"Change {answer.content.name}",
        content=panel("Account", form),
        status=status_of(error),
    )


async def change(view: View) -> Shown:
    user_id = view.request.path_params["user_id"]
    account = await view.api.call(accounts.show_account, user_id=user_id)
    body = _body(_fields(account), view.typed)
    try:
        await view.api.call(
            accounts.change_account,
            body=body,
            headers={"if-match": view.typed.get("etag", "")},
            user_id=user_id,
        )
    except PreconditionFailed:
        return await edit_page(view, view.raced("account"), raced=True)
    except (ValidationFailed, Conflict) as error:
        return await edit_page(view, error)
    return go_to(f"/console/accounts/{segment(user_id)}")


def _body(fields: Sequence[Field], typed: Typed) -> dict[str, Any]:
    """An empty amount means no budget: null removes what there was."""
    body = body_of(fields, typed)
    if "budget" in body and body["budget"].get("limit_usd") is None:
        body["budget"] = None
    return body


def _fields(account: AccountView) -> tuple[Field, ...]:
    """Several budgets are changed one by one by the API alone."""
    return _SETTINGS + _BUDGET if len(account.budgets) <= 1 else _SETTINGS


def _typed(account: AccountView) -> Mapping[str, str]:
    budget = account.budgets[0] if len(account.budgets) == 1 else None
    values: dict[str, Any] = {
        "name": account.name,
        "status": account.status,
        "time_zone": account.time_zone,
        "limits.requests_per_minute": account.limits.requests_per_minute,
        "limits.tokens_per_minute": account.limits.tokens_per_minute,
        "limits.parallel_calls": account.limits.parallel_calls,
        "budget.limit_usd": budget and f"{budget.limit_usd:f}",
        "budget.period": budget and budget.period,
        "budget.soft_limit_usd": budget and budget.soft_limit_usd and f"{budget.soft_limit_usd:f}",
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/accounts": {"GET": list_page},
    "/console/new/account": form_for(accounts.create_account, new_page, create),
    "/console/accounts/{user_id}": {"GET": show_page},
    "/console/edit/account/{user_id}": form_for(accounts.change_account, edit_page, change),
}
