"""The audit log: who did what, and what was before and after."""

from collections.abc import Mapping

from htpy import Node, details, p, summary

from services.admin.audit import audit
from services.admin.audit.audit import AuditView
from services.admin.console.elements import (
    NOTHING,
    Column,
    json_block,
    link,
    panel,
    rows_table,
    status_badge,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, segment

_FILTERS = {
    "actor": "Who (id)", "action": "Action", "kind": "Kind", "object": "Object",
    "request_id": "Request id", "since": "Since", "until": "Until",
}  # fmt: skip
# Of kinds whose objects have pages.
_PATHS = {
    "accounts": "/console/accounts",
    "keys": "/console/keys",
    "models": "/console/models",
}
_COLUMNS = (
    Column("When"), Column("Who"), Column("Action"), Column("Object"), Column("Outcome"),
    Column("From"), Column("Change"),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    page = await view.api.call(audit.list_audit, query=view.query)
    rows = [_row(view, each) for each in page.data]
    table = rows_table("Writes", _COLUMNS, rows, empty=p["No write matches."])
    file = link(f"/console/audit/export?{view.with_query().partition('?')[2]}", "Download")
    return ConsolePage(
        name="Audit",
        content=panel("Writes", filters(view, _FILTERS), table, view.pager(page), actions=file),
    )


async def export(view: View) -> Shown:
    """The records that the filters leave, a line of JSON each."""
    query = {name: text for name, text in view.query.items() if name not in ("limit", "cursor")}
    return await view.api.file(audit.export_audit, query=query)


def _row(view: View, each: AuditView) -> list[Node]:
    return [
        when(each.at, view.zone, seconds=True),
        f"{each.actor_name} ({each.role})",
        each.action.replace("_", " "),
        _object(each),
        status_badge(each.outcome),
        each.address,
        details[
            summary["Show"],
            json_block({"before": each.before, "after": each.after}),
        ],
    ]


def _object(each: AuditView) -> Node:
    """A link to its page, where its kind has some."""
    if not each.object or each.kind not in _PATHS:
        return each.object or NOTHING
    return link(f"{_PATHS[each.kind]}/{segment(each.object)}", each.object)


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/audit": {"GET": list_page},
    "/console/audit/export": {"GET": export},
}
