"""Exports: a file that is whole or not there, or a stream to stdout."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewayctl.commands import CommandSession
from gatewayctl.errors import CommandError, Misused
from gatewayctl.files import replace_file
from gatewayctl.progress import progress

To = Annotated[
    str, typer.Option("--to", "-o", metavar="FILE", help="The file to write; - is stdout.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]


def target_of(to: str, *, force: bool) -> Path | None:
    """None for stdout. Raises Misused for a file that is there, unless `force` replaces it."""
    if to == "-":
        return None
    if os.path.lexists(to) and not force:
        raise Misused(f"{to} exists already.", way_out="add --force to replace it")
    return Path(to)


def download(
    session: CommandSession,
    path: str,
    query: Mapping[str, Any],
    *,
    accept: str,
    to: str,
    force: bool,
    expected_lines: int | None = None,
) -> None:
    """Raises CommandError, and leaves no half of a file; also at Ctrl-C.

    `expected_lines` is about how many lines will come.
    """
    session.output.refuse_choice()
    target = target_of(to, force=force)
    if target is None:
        _print(session, path, query, accept)
        return
    try:
        with (
            session.client.download(path, query, accept) as pieces,
            progress(session.terminal, target.name, expected_lines) as show,
            replace_file(target) as file,
        ):
            lines = size = 0
            for piece in pieces:
                file.write(piece)
                size += len(piece)
                lines += piece.count(b"\n")
                show(lines, f"{lines:,} lines, {size / 1e6:,.1f} MB")
    except OSError as error:
        raise Misused(f"{target} cannot be written: {error}") from None
    except KeyboardInterrupt:
        session.terminal.say(f"gatewayctl: stopped; {target} was not written.")
        raise
    except CommandError as error:
        error.details = (*error.details, f"{target} was not written")
        raise
    session.output.done(f"{target}: {size:,} bytes.")


def _print(session: CommandSession, path: str, query: Mapping[str, Any], accept: str) -> None:
    stdout = session.terminal.stdout
    with session.client.download(path, query, accept) as pieces:
        # A terminal may break in the middle of a character, a file must not be changed.
        buffer = getattr(stdout, "buffer", None)
        for piece in pieces:
            if buffer is None:
                stdout.write(piece.decode("utf-8", "replace"))
            else:
                buffer.write(piece)
        stdout.flush()
