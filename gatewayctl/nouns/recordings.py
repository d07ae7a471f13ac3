"""`gatewayctl recordings`: the texts of calls of keys that record."""

from typing import Annotated

import typer

from gatewayctl.amounts import Since, Until
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, Limit, Yes, noun, session_of, verb
from gatewayctl.errors import Failed
from gatewayctl.filters import Account, Key, query_of

app = noun("recordings", "Recorded calls, of keys that ask for it.")
_COLUMNS = (
    "started=started_at", "account=user_id", "model", "http=http_status",
    "asked bytes=request.size", "answered bytes=answer.size", "expires_at", "call id=call_id",
)  # fmt: skip
_MAX_ROUNDS = 10_000

CallId = Annotated[str, typer.Argument(metavar="CALL_ID", help="The id of its entry.")]


@verb(app, "list")
def list_recordings(
    ctx: typer.Context,
    *,
    account: Account = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List recordings, without their texts."""
    session = session_of(ctx)
    query = query_of(session, None, since=since, until=until, user_id=account, key_id=key)
    session.output.rows(session.client.pages("/admin/recordings", query, limit), _COLUMNS)


@verb(app, "show")
def show_recording(ctx: typer.Context, call_id: CallId) -> None:
    """Show the recording of a call, which is noted in the audit log."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/recordings/{}", call_id)))


@verb(app, "delete")
def delete_recording(ctx: typer.Context, call_id: CallId, yes: Yes = False) -> None:
    """Delete the recording of a call."""
    session = session_of(ctx)
    session.terminal.confirm(f"Delete the recording of {call_id}?", yes=yes)
    session.client.delete(at("/admin/recordings/{}", call_id))
    session.output.done(f"The recording of {call_id} was deleted.")


@verb(app, "delete-all")
def delete_recordings(
    ctx: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="The account.")],
    yes: Yes = False,
) -> None:
    """Delete all recordings of an account."""
    session = session_of(ctx)
    session.terminal.confirm(f"Delete all recordings of {user_id}?", yes=yes)
    deleted = 0
    for _ in range(_MAX_ROUNDS):
        answer = session.client.delete("/admin/recordings", {"user_id": user_id})
        deleted += answer["deleted"]
        if not answer["more"]:
            break
    else:
        raise Failed(f"{deleted:,} were deleted, and there are more.", way_out="repeat the command")
    session.output.one({"user_id": user_id, "deleted": deleted})
