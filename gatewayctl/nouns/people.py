"""`gatewayctl people`: who may call the admin API."""

from typing import Annotated

import typer

from gatewayctl.amounts import later_of
from gatewayctl.bodies import From, Set, body_of, edit
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, DryRun, Limit, Yes, noun, session_of, verb
from gatewayctl.nouns.keys import show_secret

app = noun("people", "People who may call the admin API, each with an admin key.")
_COLUMNS = (
    "person_id", "name", "role", "accounts", "prefix", "status", "expires_at", "created_at",
)  # fmt: skip

PersonId = Annotated[str, typer.Argument(metavar="PERSON_ID")]
Role = Annotated[str | None, typer.Option("--role", help="viewer, billing, operator or owner.")]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--account", metavar="USER_ID", help="What they may reach; all without one."),
]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="A time, or so long from now: 90d.")
]


@verb(app, "list")
def list_people(
    ctx: typer.Context,
    search: Annotated[str | None, typer.Option("--search", help="Part of the name.")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List people."""
    session = session_of(ctx)
    session.output.rows(session.client.pages("/admin/people", {"q": search}, limit), _COLUMNS)


@verb(app, "show")
def show_person(ctx: typer.Context, person_id: PersonId) -> None:
    """Show a person."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/people/{}", person_id)))


@verb(app, "create", writes=True)
def create_person(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    role: Role = "viewer",
    accounts: Accounts = None,
    expires: Expires = None,
    source: From = None,
    assignments: Set = None,
) -> None:
    """Create an admin key for a person. It is printed once."""
    session = session_of(ctx)
    body = body_of(
        session.terminal, source, assignments, name=name, role=role, accounts=accounts or None,
        expires_at=later_of(expires, session.terminal.now()),
    )  # fmt: skip
    show_secret(session, session.client.post("/admin/people", body), "admin_key")


@verb(app, "change")
def change_person(
    ctx: typer.Context,
    person_id: PersonId,
    *,
    name: Annotated[str | None, typer.Option("--name")] = None,
    role: Role = None,
    accounts: Accounts = None,
    expires: Expires = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Change a person; --set accounts=null opens all accounts."""
    session = session_of(ctx)
    patch = body_of(
        session.terminal, source, assignments, name=name, role=role, accounts=accounts or None,
        expires_at=later_of(expires, session.terminal.now()),
    )  # fmt: skip
    edit(session, at("/admin/people/{}", person_id), patch, dry_run=dry_run)


@verb(app, "revoke")
def revoke_person(ctx: typer.Context, person_id: PersonId, yes: Yes = False) -> None:
    """Revoke a person's admin key, for good."""
    session = session_of(ctx)
    path = at("/admin/people/{}", person_id)
    if not yes:
        person = session.client.get(path)
        session.terminal.confirm(f"Revoke the admin key of {person['name']}?", yes=False)
    session.output.one(session.client.delete(path))
