"""`gatewayctl import`: from another gateway, or a list of keys."""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewayctl.commands import CommandSession, noun, session_of, verb
from gatewayctl.errors import Misused, end_wrong
from gatewayctl.terminal import printable
from gatewayctl.values import Row

if TYPE_CHECKING:
    from gatewayctl.migration.plan import Line, MigrationPlan
    from gatewayctl.migration.table_files import Tables

app = noun("import", "Move here: routes, prices, accounts, spend, and keys with their secrets.")

_FIELD_COLUMNS = ("verdict", "field", "subject", "note")
_RESULT_COLUMNS = ("action", "kind", "name", "note")
# One stream of lines has both, and --json picks the same fields of each.
_NO_LINE: Row = {"verdict": None, "field": None, "subject": None}
_NO_RESULT: Row = {"action": None, "kind": None, "name": None}
_VERDICTS = ("carried", "adapted", "cannot")
_EXAMPLES = 3
_LITELLM = "LiteLLM_"

Apply = Annotated[
    bool, typer.Option("--apply", help="Do it. Without this nothing is sent, only told.")
]
LiteLLMConfig = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Its configuration file.")
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Its PostgreSQL, which is only read; - reads the URL from stdin.",
    ),
]
Export = Annotated[
    Path | None,
    typer.Option(
        "--export", metavar="PATH", help="A dump by pg_dump, or a directory of a CSV per table."
    ),
]


@verb(app, "litellm")
def import_litellm(
    ctx: typer.Context,
    config: LiteLLMConfig = None,
    database: Database = None,
    export: Export = None,
    apply: Apply = False,
) -> None:
    """From a LiteLLM Proxy: its config.yaml, and its database or a dump of it.

    Every field is told: carried, adapted, or what cannot be. Secrets stay those that clients have,
    and what is there already stays as it is, so it can be run again.
    """
    from gatewayctl.documents import read_document
    from gatewayctl.migration.litellm_columns import TABLES
    from gatewayctl.migration.litellm_config import LiteLLMConfig, read_config
    from gatewayctl.migration.litellm_tables import read_tables

    session = session_of(ctx)
    _check_given(config, database, export)
    source = LiteLLMConfig()
    if config is not None:
        source = read_config(read_document(config), session.terminal.environ)
    tables = _tables(session, database, export, TABLES, _LITELLM)
    if tables is not None:
        others = sorted(name for name in tables.others if name.startswith(_LITELLM))
        source.plan.add(read_tables(tables.rows, datetime.now(UTC), source, also=others))
    _finish(session, source.plan, apply=apply)


@verb(app, "otari")
def import_otari(
    ctx: typer.Context,
    config: LiteLLMConfig = None,
    database: Database = None,
    export: Export = None,
    apply: Apply = False,
) -> None:
    """From an Otari: its config.yml, and its database or a dump of it."""
    from gatewayctl.documents import read_document
    from gatewayctl.migration.otari import TABLES, read_otari

    session = session_of(ctx)
    _check_given(config, database, export)
    document = None if config is None else read_document(config)
    tables = _tables(session, database, export, TABLES, "")
    rows, others = ({}, []) if tables is None else (tables.rows, sorted(tables.others))
    _finish(session, read_otari(document, rows, datetime.now(UTC), others), apply=apply)


@verb(app, "csv")
def import_csv(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="With a line of column names.")],
    apply: Apply = False,
) -> None:
    """From a list of keys: user_id, key_sha256 or secret, name, allowed_models, limit_usd, ...

    Secrets are hashed here, and never sent.
    """
    from gatewayctl.migration.key_list import read_keys
    from gatewayctl.migration.table_files import read_rows

    session = session_of(ctx)
    _finish(session, read_keys(read_rows(file), str(file), datetime.now(UTC)), apply=apply)


def _check_given(config: Path | None, database: str | None, export: Path | None) -> None:
    if config is None and database is None and export is None:
        raise Misused("There is nothing to read: give --config, and --database or --export.")
    if database is not None and export is not None:
        raise Misused("Give --database or --export, not both.")


def _tables(
    session: CommandSession,
    database: str | None,
    export: Path | None,
    names: Collection[str],
    prefix: str,
) -> "Tables | None":
    from gatewayctl.migration.database import has_password, read_database
    from gatewayctl.migration.table_files import read_tables_of

    if export is not None:
        return read_tables_of(export, names)
    if database is None:
        return None
    if database == "-":
        database = session.terminal.secret("URL of the database: ")
    elif has_password(database):
        raise Misused(
            "A password does not belong on the command line, whose history keeps it.",
            way_out="--database -, and the URL on stdin",
        )
    return read_database(database, names, prefix, session.terminal.environ)


def _finish(session: CommandSession, plan: "MigrationPlan", *, apply: bool) -> None:
    """On a terminal the fields are summed up, in a pipe each is a line."""
    from gatewayctl.migration.execution import carry_out

    lines = sorted(plan.lines, key=lambda line: _VERDICTS.index(line.verdict))
    if apply and session.output.query is not None:
        raise Misused("--query is of the fields that are told: it has no place beside --apply.")
    if session.output.is_table:
        for text in _summaries(lines):
            session.output.text(printable(text))
    else:
        session.output.rows(map(_row, lines), _FIELD_COLUMNS)
    counts = Counter(str(line.verdict) for line in lines)
    summary = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS)
    session.terminal.say(
        f"{len(plan.accounts)} accounts, {len(plan.keys)} keys, {len(plan.routes)} routes, "
        f"{len(plan.costs)} prices, {len(plan.spends)} sums of spend; fields: {summary}."
    )
    if not apply:
        session.terminal.say("Nothing was sent: add --apply to do it.")
        return
    actions: Counter[str] = Counter()
    for result in carry_out(session.client, plan):
        actions[result["action"]] += 1
        _show(session, result)
    session.terminal.say(", ".join(f"{count} {action}" for action, count in actions.items()) + ".")
    if actions["wrong"]:
        raise end_wrong()


def _show(session: CommandSession, result: Row) -> None:
    """As it is done, so that an interrupted one tells how far it was."""
    if not session.output.is_table:
        session.output.rows([_NO_LINE | result], _RESULT_COLUMNS)
    elif result["action"] != "same":
        note = f": {result['note']}" if result["note"] else ""
        text = f"{result['action']:8}{result['kind']} {result['name']}{note}"
        session.output.text(printable(text))


def _row(line: "Line") -> Row:
    return _NO_RESULT | {
        "verdict": line.verdict, "field": line.kind, "subject": line.subject, "note": line.note,
    }  # fmt: skip


def _summaries(lines: "list[Line]") -> Iterator[str]:
    """A line for all objects of which the same is said of a field: never cut, so no table."""
    objects: dict[tuple[str, str, str], list[str]] = {}
    for line in lines:
        objects.setdefault((line.verdict, line.kind, line.note), []).append(line.subject)
    for (verdict, kind, note), names in objects.items():
        unique_names = [*dict.fromkeys(names)]
        more = ", ..." if len(unique_names) > _EXAMPLES else ""
        examples = f"{len(names)}: {', '.join(unique_names[:_EXAMPLES])}{more}"
        yield f"{verdict}  {kind}{': ' if note else ''}{note}  ({examples})"
