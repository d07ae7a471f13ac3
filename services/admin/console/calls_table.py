"""The table of calls, as several pages have it."""

from collections.abc import Sequence

from htpy import Node, p

from services.admin.console.elements import (
    NOTHING,
    Column,
    count_text,
    link,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.page import View, segment
from services.admin.console.token_sums import counts_of, input_tokens, output_tokens
from services.admin.entry_views import EntryView

_COLUMNS = (
    Column("Time"), Column("Account"), Column("Model"), Column("Status"),
    Column("Tokens in", "number"), Column("Tokens out", "number"), Column("Cost", "number"),
    Column("ms", "number"),
)  # fmt: skip


def calls_table(view: View, entries: Sequence[EntryView]) -> Node:
    empty = p["No call matches. Calls appear here within a second of their end."]
    return rows_table("Calls", _COLUMNS, [_row(view, each) for each in entries], empty=empty)


def _row(view: View, entry: EntryView) -> list[Node]:
    tokens = counts_of(entry.usage)
    return [
        link(
            f"/console/calls/{segment(entry.entry_id)}",
            when(entry.started_at, view.zone, seconds=True),
        ),
        link(f"/console/accounts/{segment(entry.user_id)}", entry.user_id),
        entry.requested_model or NOTHING,
        status_badge(entry.status if entry.kind == "call" else entry.kind),
        count_text(input_tokens(tokens)) if tokens else NOTHING,
        count_text(output_tokens(tokens)) if tokens else NOTHING,
        usd(entry.cost_usd),
        count_text(entry.latency_ms),
    ]
