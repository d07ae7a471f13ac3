"""`gatewayctl keys`."""

from decimal import Decimal
from typing import Annotated

import typer

from gatewayctl.amounts import amount, later_of
from gatewayctl.bodies import From, Set, body_of, edit
from gatewayctl.client import at
from gatewayctl.commands import (
    DEFAULT_LIMIT,
    CommandSession,
    DryRun,
    Limit,
    Yes,
    noun,
    session_of,
    verb,
)
from gatewayctl.errors import Misused
from gatewayctl.filters import Account
from gatewayctl.values import Row

app = noun("keys", "Keys: what clients call the gateway with.")
_COLUMNS = (
    "key id=key_id", "user id=user_id", "name", "prefix", "status", "models=allowed_models",
    "expires_at", "created_at",
)  # fmt: skip
# The prefix of all secrets.
_SECRET = "sk-"

Key = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="The key's id; - reads its secret from stdin.")
]
Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="A model that it may use; all without one."),
]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="A time, or so long from now: 90d.")
]
Budget = Annotated[
    Decimal | None,
    typer.Option("--budget", parser=amount, metavar="USD", help="A limit within its account's."),
]
Period = Annotated[
    str | None,
    typer.Option(
        "--period", metavar="PERIOD", help="Of its budget: daily, weekly, monthly or total."
    ),
]


@verb(app, "list")
def list_keys(
    ctx: typer.Context,
    account: Account = None,
    search: Annotated[str | None, typer.Option("--search", help="Part of the id or name.")] = None,
    prefix: Annotated[str | None, typer.Option(help="The 12 characters it begins with.")] = None,
    status: Annotated[str | None, typer.Option(help="active, revoked or expired.")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List keys, without their secrets, which nobody has but their clients."""
    session = session_of(ctx)
    query = {"user_id": account, "q": search, "prefix": prefix, "status": status}
    session.output.rows(session.client.pages("/admin/keys", query, limit), _COLUMNS)


@verb(app, "show")
def show_key(ctx: typer.Context, key: Key) -> None:
    """Show a key."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/keys/{}", _key_of(session, key))))


@verb(app, "create", writes=True)
def create_key(
    ctx: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER_ID", help="The account that pays.")],
    *,
    name: Name = None,
    models: Models = None,
    expires: Expires = None,
    budget: Budget = None,
    period: Period = None,
    source: From = None,
    assignments: Set = None,
) -> None:
    """Create a key. Its secret is printed once, and cannot be had again.

    A budget without a period is a monthly one.
    """
    session = session_of(ctx)
    if budget is not None:
        period = period or "monthly"
    body = body_of(
        session.terminal, source, assignments,
        user_id=user_id, name=name, **_fields(session, models, expires, budget, period),
    )  # fmt: skip
    show_secret(session, session.client.post("/admin/keys", body), "api_key")


@verb(app, "change")
def change_key(
    ctx: typer.Context,
    key: Key,
    *,
    name: Name = None,
    models: Models = None,
    expires: Expires = None,
    budget: Budget = None,
    period: Period = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Change a key. Options replace what it has; --set expires_at=null removes a field."""
    session = session_of(ctx)
    path = at("/admin/keys/{}", _key_of(session, key))
    patch = body_of(
        session.terminal, source, assignments,
        name=name, **_fields(session, models, expires, budget, period),
    )  # fmt: skip
    edit(session, path, patch, dry_run=dry_run)


@verb(app, "rotate", writes=True)
def rotate_key(
    ctx: typer.Context,
    key: Key,
    grace: Annotated[
        int | None,
        typer.Option("--grace", min=0, metavar="SECONDS", help="How long the old secret works."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Give a key another secret, which is printed once."""
    session = session_of(ctx)
    key_id = _key_of(session, key)
    if grace == 0:
        session.terminal.confirm("Clients with the old secret fail at once. Go on?", yes=yes)
    body = {} if grace is None else {"grace_s": grace}
    answer = session.client.post(at("/admin/keys/{}/rotate", key_id), body)
    show_secret(session, answer, "api_key")


@verb(app, "revoke")
def revoke_key(ctx: typer.Context, key: Key, yes: Yes = False) -> None:
    """Revoke a key, for good: within a second no gateway takes it."""
    session = session_of(ctx)
    path = at("/admin/keys/{}", _key_of(session, key))
    if not yes:
        answer = session.client.get(path)
        label = f"{answer['key_id']} {answer['name'] or ''}".strip()
        session.terminal.confirm(f"Revoke {label} of {answer['user_id']}?", yes=False)
    session.output.one(session.client.delete(path))


def show_secret(session: CommandSession, answer: Row, field: str) -> None:
    session.output.one(answer)
    if answer[field] is not None:
        session.output.done(f"{field} is shown this once: keep it where secrets are kept.")


def _key_of(session: CommandSession, key: str) -> str:
    """Raises Misused for a secret that stands in the command line."""
    if key == "-":
        return session.terminal.secret("The key's secret: ")
    if key.startswith(_SECRET):
        raise Misused(
            "A secret does not belong on the command line, whose history keeps it.",
            way_out="name the key by its id, or write - and send the secret on stdin",
        )
    return key


def _fields(
    session: CommandSession,
    models: list[str] | None,
    expires: str | None,
    budget: Decimal | None,
    period: str | None,
) -> Row:
    """Raises Misused for half a budget: a guessed period would replace the one of a key."""
    if (budget is None) is not (period is None):
        raise Misused("--budget and --period belong together: each is half a budget.")
    return {
        "allowed_models": models or None,
        "expires_at": later_of(expires, session.terminal.now()),
        "budgets": None if budget is None else [{"limit_usd": budget, "period": period}],
    }
