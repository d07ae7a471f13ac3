"""`gatewayctl audit`: who changed what."""

from typing import Annotated

import typer

from gatewayctl.amounts import Since, Until
from gatewayctl.commands import DEFAULT_LIMIT, Limit, noun, session_of, verb
from gatewayctl.downloads import Force, To, download
from gatewayctl.errors import end_wrong
from gatewayctl.filters import Where, query_of
from gatewayctl.progress import progress
from gatewayctl.values import Row

app = noun("audit", "The audit log: who changed what, and its proof.")
_COLUMNS = (
    "seq", "at", "actor=actor_name", "role", "action", "kind", "object", "outcome", "status",
    "address",
)  # fmt: skip

Actor = Annotated[str | None, typer.Option("--actor", metavar="ID", help="Whose writes.")]
Action = Annotated[
    str | None, typer.Option("--action", metavar="NAME", help="Such as change_account.")
]
Object = Annotated[str | None, typer.Option("--object", metavar="ID", help="What was changed.")]


@verb(app, "list")
def list_audit(
    ctx: typer.Context,
    *,
    actor: Actor = None,
    action: Action = None,
    object_id: Object = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List writes, the newest first."""
    session = session_of(ctx)
    query = query_of(
        session, where, since=since, until=until, actor=actor, action=action, object=object_id
    )
    session.output.rows(session.client.pages("/admin/audit", query, limit), _COLUMNS)


@verb(app, "verify")
def verify(
    ctx: typer.Context,
    seq: Annotated[
        int | None, typer.Option("--seq", min=1, help="Of a head that was noted earlier.")
    ] = None,
    digest: Annotated[str | None, typer.Option("--hash", help="Of the same head.")] = None,
) -> None:
    """Prove that no record was changed or removed. Ends with 1 where one was."""
    session = session_of(ctx)
    page: Row = {}
    records = 0
    with progress(session.terminal, "Proving") as show:
        query = {"seq": seq, "hash": digest}
        for page in session.client.answers("GET", "/admin/audit/verify", query):
            records += page["records"]
            show(records, f"{records:,} records")
    result = {"ok": page["ok"], "records": records, "head": page["head"], "fault": page["fault"]}
    session.output.one(result)
    if not page["ok"]:
        raise end_wrong()


@verb(app, "export")
def export(
    ctx: typer.Context,
    *,
    to: To = "-",
    force: Force = False,
    actor: Actor = None,
    action: Action = None,
    object_id: Object = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the records as lines of JSON, the oldest first."""
    session = session_of(ctx)
    query = query_of(
        session, None, since=since, until=until, actor=actor, action=action, object=object_id
    )
    download(
        session, "/admin/audit/export", query, accept="application/x-ndjson", to=to, force=force
    )
