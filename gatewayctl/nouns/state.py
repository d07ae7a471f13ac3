"""`gatewayctl apply`, `diff` and `export`: declared state."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayctl.commands import CommandSession, DryRun, Yes, session_of, verb
from gatewayctl.downloads import Force, To, target_of
from gatewayctl.errors import CommandError, Misused, end_wrong
from gatewayctl.terminal import printable
from gatewayctl.values import Row

if TYPE_CHECKING:
    from gatewayctl.state.declaration import Declaration
    from gatewayctl.state.reconciliation import Step

_COLUMNS = ("action", "kind", "name", "changes", "note")
_SAME = "same"
_REMOVALS = {"archive", "end", "delete", "revoke", "remove"}

File = Annotated[
    str, typer.Option("--file", "-f", metavar="FILE", help="The YAML file; - reads stdin.")
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune", help="Take away what the file's sections do not declare: archive, revoke, end."
    ),
]


def add_to(app: typer.Typer) -> None:
    """These are about everything that there is."""
    verb(app, "apply")(apply)
    verb(app, "diff")(diff)
    verb(app, "export")(export)


def apply(
    ctx: typer.Context,
    file: File,
    prune: Prune = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Make the gateway have what a file declares.

    A field that the file does not give stays as it is; null takes it away; a list replaces the
    whole list. Applying a file twice changes nothing the second time.
    """
    from gatewayctl.state.reconciliation import apply_all, steps_of

    session = session_of(ctx)
    declaration = _read_file(session, file)
    steps = [*steps_of(session.client, declaration, prune=prune)]
    rows = [step.row() for step in steps]
    if dry_run:
        _end(_show_rows(session, rows))
        return
    removals = [row for row in rows if row["action"] in _REMOVALS]
    if removals:
        session.terminal.confirm(f"Take away {len(removals)} that are not declared?", yes=yes)
    # As they are done: one that breaks off has told how far it was.
    _end(_show_rows(session, (_result(*outcome) for outcome in apply_all(session.client, steps))))


def diff(ctx: typer.Context, file: File, prune: Prune = False) -> None:
    """Show what `apply` would do. Exit code 1 where there is something."""
    from gatewayctl.state.reconciliation import steps_of

    session = session_of(ctx)
    steps = steps_of(session.client, _read_file(session, file), prune=prune)
    actions = _show_rows(session, (step.row() for step in steps))
    if actions - {_SAME}:
        raise end_wrong()


def export(
    ctx: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SECTION", help="Such as routes."),
    ] = None,
    to: To = "-",
    force: Force = False,
) -> None:
    """Print what the gateway has as a file for `apply`, without secrets.

    Keys have none there: they are found by their names, and made with `gatewayctl keys create`.
    Prices are those that were set: import those that were imported with `gatewayctl costs import`.
    """
    from gatewayctl.files import replace_file
    from gatewayctl.state.exports import declared_state, yaml_of
    from gatewayctl.state.kinds import BY_SECTION

    session = session_of(ctx)
    session.output.refuse_choice()
    target = target_of(to, force=force)
    unknown = [name for name in only or () if name not in BY_SECTION]
    if unknown:
        raise Misused(f"--only: {unknown[0]!r} is not one of {', '.join(BY_SECTION)}.")
    kinds = [kind for name, kind in BY_SECTION.items() if not only or name in only]
    text = yaml_of(declared_state(session.client, kinds))
    if target is None:
        session.output.text(text)
        return
    try:
        with replace_file(target) as file:
            file.write(text.encode())
    except OSError as error:
        raise Misused(f"{target} cannot be written: {error.strerror}") from None


def _read_file(session: CommandSession, file: str) -> "Declaration":
    from gatewayctl.documents import parse_document, read_document
    from gatewayctl.state.declaration import read_declaration

    if file == "-":
        return read_declaration(parse_document(session.terminal.read().encode(), "stdin"))
    return read_declaration(read_document(Path(file)))


def _result(step: "Step", error: CommandError | None) -> Row:
    row = step.row()
    if error is None:
        return row
    return {**row, "action": "wrong", "note": "; ".join((error.message, *error.details))}


def _show_rows(session: CommandSession, rows: Iterable[Row]) -> set[str]:
    """The actions among them. On a terminal only what is not as it is declared, and whole."""
    actions: set[str] = set()
    if session.output.query is not None:
        # It is of all rows together.
        rows = [*rows]
        session.output.rows(rows, _COLUMNS)
        return {row["action"] for row in rows}
    for row in rows:
        actions.add(row["action"])
        if not session.output.is_table:
            session.output.rows([row], _COLUMNS)
        elif row["action"] != _SAME:
            note = f": {row['note']}" if row["note"] else ""
            session.output.text(printable(f"{row['action']:8}{row['kind']} {row['name']}{note}"))
            for name, values in row["changes"].items():
                change = f"{name}: {_short(values['from'])} -> {_short(values['to'])}"
                session.output.text(printable(f"        {change}"))
    if session.output.is_table and not actions - {_SAME}:
        session.terminal.say("Nothing to change.")
    return actions


def _short(value: object) -> str:
    from gatewayctl.values import encode_json

    return encode_json(value).decode()


def _end(actions: set[str]) -> None:
    if "wrong" in actions:
        raise end_wrong()
