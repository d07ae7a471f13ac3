"""The reasons why a command ends without success, with exit codes.

0  done, and what was checked is right
1  done, and what was checked is wrong: a proof that fails, a difference, a deployment that is down
   (also: done, but not printed as asked)
2  the command line or what it was given is wrong; nothing was sent, or the API found it invalid
3  the API refused: no key, not allowed, nothing by that name, changed by somebody else
4  no answer: wrong address, not reachable, too many requests, the service failed
130 Ctrl-C
"""

from collections.abc import Sequence

import typer

DONE, WRONG, MISUSED, REFUSED, FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CommandError(Exception):
    """`details` are lines below the message, such as a wrong field each; `way_out` is the last."""

    exit_code = FAILED

    def __init__(
        self, message: str, *, details: Sequence[str] = (), way_out: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.way_out = way_out


class Misused(CommandError):
    exit_code = MISUSED


class Mistold(CommandError):
    """The command is done, but its result cannot be printed as `--json` or `--query` asks."""

    exit_code = WRONG


class Refused(CommandError):
    """`status` and `code` are those of the API's answer, where it was the one to refuse."""

    exit_code = REFUSED

    def __init__(
        self,
        message: str,
        *,
        details: Sequence[str] = (),
        way_out: str | None = None,
        status: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, details=details, way_out=way_out)
        self.status = status
        self.code = code


class Failed(CommandError):
    exit_code = FAILED


def end_wrong() -> typer.Exit:
    """Raise this after a failed check has been printed."""
    return typer.Exit(WRONG)
