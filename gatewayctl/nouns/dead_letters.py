"""`gatewayctl ledger dead-letters`."""

from typing import Annotated

import typer

from gatewayctl.commands import DEFAULT_LIMIT, Limit, Yes, noun, session_of, verb
from gatewayctl.errors import Misused

app = noun("dead-letters", "Deliveries that could not be posted.")
_COLUMNS = ("letter_id", "kind", "reason", "user_id", "times", "size", "buried_at")


@verb(app, "list")
def list_letters(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="waiting or replayed.")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List dead letters."""
    session = session_of(ctx)
    rows = session.client.pages("/admin/ledger/dead-letters", {"state": state}, limit)
    session.output.rows(rows, _COLUMNS)


@verb(app, "replay", writes=True)
def replay_letters(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[LETTER_ID]...")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    yes: Yes = False,
) -> None:
    """Put dead letters back on the queue."""
    session = session_of(ctx)
    if bool(ids) is every:
        raise Misused("Which letters?", way_out="name their ids, or give --all")
    if every:
        session.terminal.confirm("Put all dead letters back on the queue?", yes=yes)
    body = {"all": True} if every else {"ids": ids}
    session.output.one(session.client.post("/admin/ledger/dead-letters/replay", body))
