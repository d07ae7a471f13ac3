"""Calls: the ledger's entries by filters, as they come, and one by one."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from htpy import Node, a, code, div, p, span
from starlette.responses import Response

from libs.common.schemas.entry import EntryKind, EntryStatus
from services.admin import corrections, ledger, recordings, usage
from services.admin.console.call_life import life_table
from services.admin.console.calls_table import calls_table
from services.admin.console.cost_lines import lines_table
from services.admin.console.elements import (
    facts,
    json_block,
    link,
    mono,
    panel,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment
from services.admin.entry_views import EntryView
from services.admin.exports import usage_export
from services.admin.ledger import ExplainedEntryView

_TEXTS = {
    "user_id": "Account",
    "key_id": "Key id",
    "model": "Model",
    "provider": "Provider",
    "deployment": "Deployment",
    "error_code": "Error code",
    "client_user": "End user",
    "tag": "Tag",
    "provider_request_id": "Provider's request id",
    "trace_id": "Trace id",
    "above_usd": "Cost above, USD",
    "since": "Since",
    "until": "Until",
}
_CHOICES = {"status": ("Status", EntryStatus), "kind": ("Kind", EntryKind)}
_TAIL = "/console/calls/tail"


async def list_page(view: View) -> Shown:
    page = await view.api.call(usage.list_usage, query=view.query)
    return ConsolePage(
        name="Calls",
        content=[
            panel(
                "Entries",
                filters(view, _TEXTS, _CHOICES),
                _live(view, page.data),
                view.pager(page),
                actions=[_tail_note(view), " ", _download(view)],
            ),
        ],
    )


def _tail_note(view: View) -> Node:
    return None if "cursor" in view.query else span(".faint")["New ones appear by themselves"]


def _download(view: View) -> Node:
    query = urlencode({**view.query, "format": "csv"})
    return link(f"/console/calls/export?{query}", "Download as CSV")


def _live(view: View, entries: Sequence[EntryView]) -> Node:
    """The first page asks for what is new; a later one stands still."""
    table = calls_table(view, entries)
    if "cursor" in view.query:
        return table
    newest = entries[0].entry_id if entries else ""
    url = f"{_TAIL}?{view.with_query(seen=newest).partition('?')[2]}"
    return div(hx_get=url, hx_trigger="every 2s", hx_swap="outerHTML")[table]


async def export(view: View) -> Shown:
    """The entries that the filters leave, as a file."""
    query = {name: text for name, text in view.query.items() if name not in ("limit", "cursor")}
    return await view.api.file(usage_export.export_usage, query=query)


async def tail(view: View) -> Shown:
    """Nothing while the newest call is the one that the page has."""
    query = dict(view.query)
    seen_id = query.pop("seen", "")
    newest = await view.api.call(usage.list_usage, query={**query, "limit": 1})
    if [entry.entry_id for entry in newest.data] == ([seen_id] if seen_id else []):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    page = await view.api.call(usage.list_usage, query=query)
    return div[_live(view, page.data)]


async def show_page(view: View) -> Shown:
    entry_id = view.request.path_params["entry_id"]
    entry = await view.api.call(ledger.show_entry, entry_id=entry_id)
    return ConsolePage(
        name=f"Call of {entry.requested_model}" if entry.kind == "call" else entry.kind.title(),
        content=[
            div(".columns")[
                panel("What happened", _facts(view, entry)),
                panel("What it cost", *_cost(entry), actions=_correct(view, entry)),
            ],
            entry.kind == "call" and panel("Its life", life_table(entry)),
            bool(entry.corrections) and panel("Corrections", calls_table(view, entry.corrections)),
            await _recording(view, entry),
        ],
    )


def _correct(view: View, entry: ExplainedEntryView) -> Node:
    if entry.kind != "call" or not view.api.may(corrections.create_correction):
        return None
    query = urlencode({"user_id": entry.user_id, "entry_id": entry.entry_id})
    return a(".button", href=f"/console/new/correction?{query}")["Correct"]


def _facts(view: View, entry: ExplainedEntryView) -> Node:
    account = link(f"/console/accounts/{segment(entry.user_id)}", entry.user_id)
    key = entry.key_id and link(f"/console/keys/{segment(entry.key_id)}", code[entry.key_id])
    rows: list[tuple[str, Node]] = [
        ("Id", mono(entry.entry_id)),
        ("Status", status_badge(entry.status)),
        ("Error", entry.error_code and mono(entry.error_code)),
        ("HTTP status", entry.http_status and str(entry.http_status)),
        ("Began", when(entry.started_at, view.zone, seconds=True)),
        ("Posted", when(entry.posted_at, view.zone, seconds=True)),
        ("Account", account),
        ("Key", key),
        ("Asked for", entry.requested_model),
        ("Ran on", entry.model and f"{entry.provider}/{entry.model}"),
        ("Deployment", entry.deployment and mono(entry.deployment)),
        ("Format", entry.format and f"{entry.format}{', translated' if entry.translated else ''}"),
        ("Stream", "yes" if entry.stream else "no"),
        ("End user", entry.client_user),
        ("Tags", ", ".join(entry.tags)),
        ("Provider's request id", entry.provider_request_id and mono(entry.provider_request_id)),
        ("Trace", entry.trace_id and mono(entry.trace_id)),
        ("Corrects", entry.corrects and link(f"/console/calls/{entry.corrects}", entry.corrects)),
        ("Reason", entry.reason),
        ("Made by", entry.made_by),
    ]
    return facts([(name, value) for name, value in rows if value])


def _cost(entry: ExplainedEntryView) -> list[Node]:
    pairs: list[tuple[str, Node]] = [
        ("Cost", usd(entry.cost_usd)),
        ("After corrections", usd(entry.net_cost_usd)),
        ("Multiplier", str(entry.multiplier)),
        ("Held while it ran", usd(entry.held_usd)),
        ("Usage from", entry.usage_source),
        ("Price", entry.price_id and mono(entry.price_id)),
        ("Notes", ", ".join(note.replace("_", " ") for note in entry.price_notes)),
    ]
    return [
        lines_table(entry.lines),
        facts([(name, value) for name, value in pairs if value]),
    ]


async def _recording(view: View, entry: ExplainedEntryView) -> Node:
    if not entry.recorded or not view.api.may(recordings.show_recording):
        return None
    if view.query.get("recording") != "shown":
        link_ = link(view.with_query(recording="shown"), "Show the texts of this call")
        return panel("Recording", p["Its request and answer were recorded. ", link_, "."])
    found = await view.api.call(recordings.show_recording, call_id=entry.entry_id)
    return panel("Recording", json_block(found))


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/calls": {"GET": list_page},
    _TAIL: {"GET": tail},
    "/console/calls/export": {"GET": export},
    "/console/calls/{entry_id}": {"GET": show_page},
}
