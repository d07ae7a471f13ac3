"""`gatewayctl settings`."""

import typer

from gatewayctl.commands import session_of, verb

_COLUMNS = ("name", "value", "default=is_default")


def add_to(app: typer.Typer) -> None:
    verb(app, "settings")(show_settings)


def show_settings(ctx: typer.Context) -> None:
    """Show what the admin service was started with. Secrets are only said to be set."""
    session = session_of(ctx)
    session.output.rows(session.client.get("/admin/settings")["data"], _COLUMNS)
