"""`gatewayctl alerts`: alerts, their deliveries, and receivers."""

from typing import Annotated

import typer

from gatewayctl.amounts import Since, Until
from gatewayctl.bodies import From, Set, body_of, edit
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, DryRun, Limit, Yes, noun, session_of, verb
from gatewayctl.filters import Account, Where, query_of
from gatewayctl.nouns.keys import show_secret

app = noun("alerts", "Alerts, and the receivers that are told of them.")
receivers = noun("receivers", "Who is told of alerts: webhooks.")
app.add_typer(receivers)
_COLUMNS = (
    "created=created_at", "kind", "account=user_id", "state", "tries", "http=http_status", "fault",
    "alert id=alert_id",
)  # fmt: skip
_RECEIVERS = ("receiver_id", "name", "url", "kinds", "accounts=user_ids", "enabled")

AlertId = Annotated[str, typer.Argument(metavar="ALERT_ID")]
ReceiverId = Annotated[str, typer.Argument(metavar="RECEIVER_ID")]
Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", help="Such as budget.exhausted; all without one.")
]
Accounts = Annotated[
    list[str] | None, typer.Option("--account", metavar="USER_ID", help="All without one.")
]
Enabled = Annotated[bool | None, typer.Option("--enabled/--disabled", help="Whether it is told.")]


@verb(app, "list")
def list_alerts(
    ctx: typer.Context,
    *,
    kind: Annotated[str | None, typer.Option("--kind", help="Such as budget.exhausted.")] = None,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed.")] = None,
    account: Account = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List alerts and their deliveries, the newest first."""
    session = session_of(ctx)
    query = query_of(
        session, where, since=since, until=until, kind=kind, state=state, user_id=account
    )
    session.output.rows(session.client.pages("/admin/alerts", query, limit), _COLUMNS)


@verb(app, "show")
def show_alert(ctx: typer.Context, alert_id: AlertId) -> None:
    """Show an alert."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/alerts/{}", alert_id)))


@verb(app, "replay", writes=True)
def replay_alert(ctx: typer.Context, alert_id: AlertId) -> None:
    """Send an alert again."""
    session = session_of(ctx)
    session.output.one(session.client.post(at("/admin/alerts/{}/replay", alert_id)))


@verb(receivers, "list")
def list_receivers(ctx: typer.Context, limit: Limit = DEFAULT_LIMIT) -> None:
    """List receivers."""
    session = session_of(ctx)
    session.output.rows(session.client.pages("/admin/alerts/receivers", {}, limit), _RECEIVERS)


@verb(receivers, "show")
def show_receiver(ctx: typer.Context, receiver_id: ReceiverId) -> None:
    """Show a receiver."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/alerts/receivers/{}", receiver_id)))


@verb(receivers, "create", writes=True)
def create_receiver(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted to.")],
    *,
    name: Name = None,
    kinds: Kinds = None,
    accounts: Accounts = None,
    source: From = None,
    assignments: Set = None,
) -> None:
    """Create a receiver. The secret that signs its messages is printed once."""
    session = session_of(ctx)
    body = body_of(
        session.terminal, source, assignments,
        url=url, name=name, kinds=kinds or None, user_ids=accounts or None,
    )  # fmt: skip
    show_secret(session, session.client.post("/admin/alerts/receivers", body), "secret")


@verb(receivers, "change")
def change_receiver(
    ctx: typer.Context,
    receiver_id: ReceiverId,
    *,
    url: Annotated[str | None, typer.Option("--to-url", metavar="URL")] = None,
    name: Name = None,
    kinds: Kinds = None,
    accounts: Accounts = None,
    enabled: Enabled = None,
    source: From = None,
    assignments: Set = None,
    dry_run: DryRun = False,
) -> None:
    """Change a receiver."""
    session = session_of(ctx)
    patch = body_of(
        session.terminal, source, assignments,
        url=url, name=name, kinds=kinds or None, user_ids=accounts or None, enabled=enabled,
    )  # fmt: skip
    path = at("/admin/alerts/receivers/{}", receiver_id)
    edit(session, path, patch, dry_run=dry_run)


@verb(receivers, "remove")
def remove_receiver(ctx: typer.Context, receiver_id: ReceiverId, yes: Yes = False) -> None:
    """Remove a receiver."""
    session = session_of(ctx)
    session.terminal.confirm(f"Remove the receiver {receiver_id}?", yes=yes)
    session.client.delete(at("/admin/alerts/receivers/{}", receiver_id))
    session.output.done(f"The receiver {receiver_id} was removed.")


@verb(receivers, "rotate", writes=True)
def rotate_secret(
    ctx: typer.Context,
    receiver_id: ReceiverId,
    grace: Annotated[
        int | None,
        typer.Option("--grace", min=0, metavar="SECONDS", help="How long both secrets sign."),
    ] = None,
) -> None:
    """Give a receiver another secret, which is printed once."""
    session = session_of(ctx)
    body = {} if grace is None else {"grace_s": grace}
    path = at("/admin/alerts/receivers/{}/rotate", receiver_id)
    show_secret(session, session.client.post(path, body), "secret")


@verb(receivers, "test", writes=True)
def send_test(ctx: typer.Context, receiver_id: ReceiverId) -> None:
    """Send a receiver a test."""
    session = session_of(ctx)
    session.output.one(session.client.post(at("/admin/alerts/receivers/{}/test", receiver_id)))
