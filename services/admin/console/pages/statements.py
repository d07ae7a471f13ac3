"""The statement of an account's month, to be read or downloaded."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import cast

from htpy import Node, nav, p

from services.admin.console.elements import (
    NOTHING,
    Column,
    count_text,
    facts,
    link,
    panel,
    rows_table,
    usd,
)
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment
from services.admin.endpoints import Answer
from services.admin.exports import statements
from services.admin.exports.statements import Statement

# The verb also answers a file, where one is asked for.
_as_json = cast("Callable[..., Awaitable[Answer[Statement]]]", statements.show_statement)


async def show_page(view: View) -> Shown:
    path = {name: view.request.path_params[name] for name in ("user_id", "month")}
    if view.query.get("format") == "csv":
        return await view.api.file(statements.show_statement, query={"format": "csv"}, **path)
    statement = await view.api.call(_as_json, query={"format": "json"}, **path)
    columns = (
        Column("Key"), Column("Model"), Column("Calls", "number"), Column("Of calls", "number"),
        Column("Corrections", "number"), Column("Credits", "number"), Column("Total", "number"),
    )  # fmt: skip
    rows: list[list[Node]] = [
        [
            line.key_name or line.key_id or NOTHING, line.model or NOTHING, count_text(line.calls),
            usd(line.calls_usd), usd(line.corrections_usd), usd(line.credits_usd),
            usd(line.total_usd),
        ]
        for line in statement.lines
    ]  # fmt: skip
    pairs: list[tuple[str, Node]] = [
        ("Month", f"{statement.month}, {statement.time_zone}"),
        ("It is", "still open" if statement.status == "open" else "closed"),
        ("Spent before", usd(statement.opening_usd)),
        ("In the month", usd(statement.total_usd)),
        ("Spent at its end", usd(statement.closing_usd)),
    ]
    return ConsolePage(
        name=f"Statement of {statement.name}",
        content=[
            _months(view, statement.month),
            panel("Sum", facts(pairs), actions=link(view.with_query(format="csv"), "As CSV")),
            panel("By key and model", rows_table("Lines", columns, rows, empty=p["No call."])),
        ],
    )


def _months(view: View, month: str) -> Node:
    """The month before, and the one after unless it has yet to come."""
    at = f"/console/accounts/{segment(view.request.path_params['user_id'])}/statements"
    first = date.fromisoformat(f"{month}-01")
    before = f"{first - timedelta(days=1):%Y-%m}"
    after = f"{first + timedelta(days=31):%Y-%m}"
    is_past = after <= f"{view.now:%Y-%m}"
    return nav(".pages", aria_label="Months")[
        link(f"{at}/{before}", before), is_past and link(f"{at}/{after}", after)
    ]


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/accounts/{user_id}/statements/{month}": {"GET": show_page},
}
