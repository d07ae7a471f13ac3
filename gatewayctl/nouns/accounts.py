"""`gatewayctl accounts`."""

from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any

import typer

from gatewayctl.amounts import amount
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
from gatewayctl.errors import Misused, Refused
from gatewayctl.values import Row

app = noun("accounts", "Accounts: whose budget all of their keys share.")
_COLUMNS = (
    "user id=user_id", "name", "status", "spent usd=spend.total_usd", "budget usd=budget.limit_usd",
    "period=budget.period", "left usd=spend.remaining_usd", "created_at",
)  # fmt: skip

UserId = Annotated[str, typer.Argument(metavar="USER_ID", help="The account's id.")]
Name = Annotated[str | None, typer.Option(help="A name for people.")]
Budget = Annotated[
    Decimal | None,
    typer.Option("--budget", parser=amount, metavar="USD", help="The limit of its budget."),
]
Period = Annotated[
    str | None,
    typer.Option("--period", metavar="PERIOD", help="daily, weekly, monthly or total."),
]
Zone = Annotated[str | None, typer.Option("--time-zone", help="Such as Europe/Berlin.")]


@verb(app, "list")
def list_accounts(
    ctx: typer.Context,
    search: Annotated[str | None, typer.Option("--search", help="Part of the id or name.")] = None,
    status: Annotated[str | None, typer.Option(help="active, suspended or archived.")] = None,
    sort: Annotated[str | None, typer.Option(help="Such as -created_at.")] = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List accounts."""
    session = session_of(ctx)
    query = {"q": search, "status": status, "sort": sort}
    session.output.rows(session.client.pages("/admin/accounts", query, limit), _COLUMNS)


@verb(app, "show")
def show_account(ctx: typer.Context, user_id: UserId) -> None:
    """Show an account."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/accounts/{}", user_id)))


@verb(app, "create", writes=True)
def create_account(
    ctx: typer.Context,
    user_id: UserId,
    *,
    name: Name = None,
    budget: Budget = None,
    period: Period = None,
    time_zone: Zone = None,
    source: From = None,
    assignments: Set = None,
) -> None:
    """Create an account."""
    session = session_of(ctx)
    body = body_of(
        session.terminal, source, assignments,
        user_id=user_id, name=name, time_zone=time_zone, **_budget(budget, period),
    )  # fmt: skip
    session.output.one(session.client.post("/admin/accounts", body))


@verb(app, "change")
def change_account(
    ctx: typer.Context,
    user_id: UserId,
    *,
    name: Name = None,
    budget: Budget = None,
    period: Period = None,
    time_zone: Zone = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Change an account."""
    session = session_of(ctx)
    patch = body_of(
        session.terminal, source, assignments,
        name=name, time_zone=time_zone, **_budget(budget, period),
    )  # fmt: skip
    edit(session, at("/admin/accounts/{}", user_id), patch, dry_run=dry_run)


def _budget(limit_usd: Decimal | None, period: str | None) -> Row:
    return {"budget__limit_usd": limit_usd, "budget__period": period}


@verb(app, "suspend", writes=True)
def suspend(ctx: typer.Context, user_ids: "UserIds", dry_run: DryRun = False) -> None:
    """Suspend accounts: their calls are refused until they are resumed."""
    _set_status(session_of(ctx), "suspended", user_ids, dry_run=dry_run)


@verb(app, "resume", writes=True)
def resume(ctx: typer.Context, user_ids: "UserIds", dry_run: DryRun = False) -> None:
    """Resume accounts, archived ones as well."""
    _set_status(session_of(ctx), "active", user_ids, dry_run=dry_run)


@verb(app, "archive", writes=True)
def archive(
    ctx: typer.Context, user_ids: "UserIds", dry_run: DryRun = False, yes: Yes = False
) -> None:
    """Archive accounts: their calls are refused, and lists leave them out."""
    session = session_of(ctx)
    if not dry_run:
        session.terminal.confirm(f"Archive {len(user_ids)} accounts?", yes=yes)
    _set_status(session, "archived", user_ids, dry_run=dry_run)


UserIds = Annotated[list[str], typer.Argument(metavar="USER_ID...", help="Accounts' ids.")]


def _set_status(
    session: CommandSession, status: str, user_ids: list[str], *, dry_run: bool
) -> None:
    body: Row = {"status": status, "filter": {"user_ids": user_ids}, "dry_run": dry_run}
    rows: list[dict[str, Any]] = []
    missed: list[str] = []
    for change in session.client.answers("POST", "/admin/account-status", body):
        rows += [{"user_id": user_id, "status": status} for user_id in change["user_ids"]]
        missed += change["missed"]
    session.output.rows(rows, ("user_id", "status"), empty="No account would change its status.")
    _refuse_unknown(session, {*user_ids} - {row["user_id"] for row in rows} - {*missed})
    if missed:
        raise Misused(
            f"Somebody else changed {len(missed)} accounts meanwhile: {', '.join(missed)}.",
            way_out="repeat the command",
        )


def _refuse_unknown(session: CommandSession, user_ids: set[str]) -> None:
    """Raises Refused. Of these nothing is said: they have the status already, or do not exist."""
    unknown = []
    for user_id in sorted(user_ids):
        try:
            session.client.get(at("/admin/accounts/{}", user_id))
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            unknown.append(user_id)
    if unknown:
        raise Refused(f"There is no account {', '.join(map(repr, unknown))}.")


@verb(app, "statement")
def statement(
    ctx: typer.Context,
    user_id: UserId,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-11.")],
) -> None:
    """Show what an account spent in a month, by key and model."""
    session = session_of(ctx)
    answer = session.client.get(at("/admin/accounts/{}/statements/{}", user_id, month))
    if session.output.is_table:
        session.output.one({name: value for name, value in answer.items() if name != "lines"})
        session.output.rows(
            answer["lines"], ("key_id", "provider", "model", "calls", "calls_usd", "total_usd")
        )
    else:
        session.output.one(answer)
