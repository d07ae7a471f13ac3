"""The bodies of requests: from options, from `--set FIELD=VALUE`, from a file or stdin."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewayctl.commands import CommandSession
from gatewayctl.errors import Misused
from gatewayctl.terminal import Terminal
from gatewayctl.values import Row, decode_json, value_at

From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="FILE", help="Fields from a file of JSON or YAML; - reads stdin."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Set any field of the body: limits.tokens_per_minute=1000, name=Ann, budget=null.",
    ),
]


def body_of(
    terminal: Terminal,
    source: str | None = None,
    assignments: Sequence[str] | None = None,
    **options: Any,
) -> Row:
    """Options win over `--set`, which wins over the file. Those that are None are not given.

    Raises Misused.
    """
    body = {} if source is None else object_of(terminal, source)
    for text in assignments or ():
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            raise Misused(f"--set {text!r} is not FIELD=VALUE.")
        _put(body, path, value_of(value))
    for name, value in options.items():
        if value is not None:
            _put(body, name.replace("__", "."), value)
    return body


def value_of(text: str) -> Any:
    """The JSON value if the text is JSON, else the text itself."""
    try:
        return decode_json(text)
    except ValueError:
        return text


def _put(body: Row, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        inner = body.setdefault(name, {})
        if not isinstance(inner, dict):
            raise Misused(f"{path}: {name} is a value, and has no fields.")
        body = inner
    body[last] = value


def object_of(terminal: Terminal, source: str) -> Row:
    """Raises Misused unless the value is an object."""
    value = read_values(terminal, source)
    if not isinstance(value, dict):
        raise Misused(f"{source}: not an object with fields.")
    return value


def read_values(terminal: Terminal, source: str) -> Any:
    """JSON, or YAML where the name says so. `-` is stdin. Raises Misused, naming the line."""
    if source.endswith((".yaml", ".yml")):
        from gatewayctl.documents import read_document

        return read_document(Path(source)).content
    text = terminal.read() if source == "-" else _text_of(Path(source))
    try:
        return decode_json(text)
    except ValueError as error:
        raise Misused(f"{'stdin' if source == '-' else source} is not JSON: {error}") from None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{path} cannot be read: {error}") from None


def edit(session: CommandSession, path: str, patch: Row, *, dry_run: bool) -> None:
    """Reads the object and patches the revision that it read. Raises CommandError."""
    if not patch:
        raise Misused("There is nothing to change.", way_out="give an option, --set or --from")
    before = session.client.ask("GET", path)
    if dry_run:
        show_changes(session, before.content, patch)
        return
    session.output.one(session.client.change(path, patch, etag=before.etag))


def show_changes(session: CommandSession, before: Row, patch: Row) -> None:
    """The fields of a merge patch, before and after it."""
    rows = [
        {"field": path, "before": value_at(before, path), "after": after}
        for path, after in _flatten(patch)
        if value_at(before, path) != after
    ]
    session.output.rows(rows, ("field", "before", "after"), empty="Nothing would change.")


def _flatten(patch: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for name, value in patch.items():
        if isinstance(value, dict) and value:
            fields += _flatten(value, f"{prefix}{name}.")
        else:
            fields.append((prefix + name, value))
    return fields
