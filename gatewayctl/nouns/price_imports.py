"""`gatewayctl costs import`, and commands for imports."""

from decimal import Decimal
from itertools import chain
from typing import Annotated

import typer

from gatewayctl.amounts import amount
from gatewayctl.bodies import object_of, show_changes
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, CommandSession, DryRun, Limit, Yes, session_of, verb
from gatewayctl.filters import Provider
from gatewayctl.values import Row

_IMPORTS = ("import_id", "versions", "undone", "multiplier", "effective_from", "made_by")
_CHANGES = ("model", "provider", "change", "differences")

ImportId = Annotated[str, typer.Argument(metavar="IMPORT_ID", help="As `costs imports` shows it.")]


def add_to(app: typer.Typer) -> None:
    verb(app, "import", writes=True)(import_costs)
    verb(app, "imports")(list_imports)
    verb(app, "import-show")(show_import)
    verb(app, "import-undo")(undo_import)


def import_costs(
    ctx: typer.Context,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A map in LiteLLM's form; the bundled one without."),
    ] = None,
    *,
    provider: Provider = None,
    model: Annotated[str | None, typer.Option(help="Of this model alone.")] = None,
    multiplier: Annotated[
        Decimal | None, typer.Option(parser=amount, metavar="FACTOR", help="On all of it.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Import prices. Shows what changes, and asks before it does."""
    session = session_of(ctx)
    body: Row = {"provider": provider, "model": model, "multiplier": multiplier}
    body = {name: value for name, value in body.items() if value is not None}
    if file is not None:
        body["price_map"] = object_of(session.terminal, file)
    preview = _preview(session, body)
    if dry_run:
        return
    if not preview["new"] + preview["changed"]:
        session.output.done("Nothing changes.")
        return
    counts = f"{preview['new']} new and {preview['changed']} changed prices"
    session.terminal.confirm(f"Import {counts}?", yes=yes)
    answer = session.client.post("/admin/costs/import", {**body, "dry_run": False})
    session.output.one({name: value for name, value in answer.items() if name != "changes"})


def _preview(session: CommandSession, body: Row) -> Row:
    """Shows all changes, over their pages."""
    preview_body = {**body, "dry_run": True, "limit": 200}
    pages = session.client.answers("POST", "/admin/costs/import", preview_body)
    first_page: Row = next(pages)
    changes = (row for page in chain([first_page], pages) for row in page["changes"])
    session.output.rows(changes, _CHANGES, empty="No price would change.")
    counts = ("models", "new", "changed", "same", "kept")
    session.output.done(", ".join(f"{first_page[name]} {name}" for name in counts))
    for row in first_page["unreadable"]:
        session.terminal.say(f"gatewayctl: not readable: {row}")
    return first_page


def list_imports(ctx: typer.Context, limit: Limit = DEFAULT_LIMIT) -> None:
    """List imports."""
    session = session_of(ctx)
    session.output.rows(session.client.pages("/admin/costs/imports", {}, limit), _IMPORTS)


def show_import(ctx: typer.Context, import_id: ImportId) -> None:
    """Show an import."""
    session = session_of(ctx)
    session.output.one(session.client.get(at("/admin/costs/imports/{}", import_id)))


def undo_import(
    ctx: typer.Context, import_id: ImportId, dry_run: DryRun = False, yes: Yes = False
) -> None:
    """Undo an import: what it replaced holds again."""
    session = session_of(ctx)
    path = at("/admin/costs/imports/{}", import_id)
    if dry_run:
        show_changes(session, session.client.get(path), {"undone": True})
        return
    session.terminal.confirm(f"Undo the import {import_id}?", yes=yes)
    session.output.one(session.client.delete(path))
