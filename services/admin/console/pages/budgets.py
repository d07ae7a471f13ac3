"""Budgets at risk: a page, and a part of the overview that is asked for once that is shown.

To find them takes a look at up to a thousand accounts, which the rest of the overview need not
wait for. Without scripts the part is a link to the page.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from htpy import Node, div, p

from services.admin import budget_outlooks
from services.admin.budget_outlooks import OwnedBudget
from services.admin.console.elements import Column, link, panel, rows_table, usd
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment
from services.admin.console.spend_chart import outlook_words
from services.admin.pages import Page

NAME = "Budgets at risk"
_PATH, _FIRST = "/console/budgets", "/console/budgets/first"
_TOP = 5
_COLUMNS = (Column("Account"), Column("Left", "number"), Column("Of", "number"), Column("Until"))


def later_part(user_id: str | None) -> Node:
    """Stands in the overview for the first of them, of an account or of all."""
    # A failure leaves the link, whose page states the reason.
    attributes = {"hx-status:4xx": "swap:none", "hx-status:5xx": "swap:none"}
    part = div(attributes, hx_get=_address(_FIRST, user_id), hx_trigger="load", hx_swap="outerHTML")
    return part[p[link(_address(_PATH, user_id), "See which budgets will run out")]]


def _address(path: str, user_id: str | None) -> str:
    return f"{path}?{urlencode({'user_id': user_id})}" if user_id else path


async def show_first(view: View) -> Shown:
    """The first ones, as the overview has them."""
    found = await _found(view, limit=_TOP)
    rest = link(_address(_PATH, view.query.get("user_id")), "the page of budgets at risk")
    if found.next_cursor is None:
        note: Node = "Every budget lasts its period."
    elif found.data:
        note = ["These come first; ", rest, " has all."]
    else:
        note = ["Of the first accounts every budget lasts; ", rest, " goes on with the others."]
    more = found.next_cursor is not None and bool(found.data)
    return div[_table(view, found.data, note), more and p[note]]


async def show_page(view: View) -> Shown:
    found = await _found(view, cursor=view.query.get("cursor"))
    note = "Every budget lasts its period."
    if found.next_cursor is not None:
        note = "Of these accounts every budget lasts; the next page goes on with the others."
    elif "cursor" in view.query:
        note = "Of these accounts, which are the last, every budget lasts."
    return ConsolePage(
        name=NAME, content=[panel("Accounts", _table(view, found.data, note), view.pager(found))]
    )


async def _found(
    view: View, *, limit: int | None = None, cursor: str | None = None
) -> Page[OwnedBudget]:
    # Whoever has several accounts in scope looks at one of them.
    query = {"user_id": view.query.get("user_id"), "limit": limit, "cursor": cursor}
    return await view.api.call(budget_outlooks.list_budgets, query={"at_risk": "true", **query})


def _table(view: View, budgets: Sequence[OwnedBudget], note: Node) -> Node:
    rows: list[list[Node]] = [
        [
            link(f"/console/accounts/{segment(each.user_id)}", each.user_id),
            usd(each.remaining_usd),
            usd(each.limit_usd),
            outlook_words(each, view.zone),
        ]
        for each in budgets
    ]
    return rows_table(NAME, _COLUMNS, rows, empty=p[note])


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    _PATH: {"GET": show_page},
    _FIRST: {"GET": show_first},
}
