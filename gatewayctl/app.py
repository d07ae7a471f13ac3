"""The tree of commands: nouns, then verbs."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import typer
from typer.main import get_command

from gatewayctl.commands import tell
from gatewayctl.errors import DONE, INTERRUPTED, MISUSED, Failed
from gatewayctl.nouns import (
    accounts,
    alerts,
    audit,
    budgets,
    costs,
    doctor,
    imports,
    keys,
    ledger,
    models,
    people,
    recordings,
    session,
    settings,
    state,
    usage,
)
from gatewayctl.terminal import Terminal

_HELP = """
Runs the gateway from a terminal, over its admin API.

Begin with `gatewayctl login`. On a terminal commands print tables, into a pipe lines of JSON;
--json and --query choose. Exit codes: 0 done, 1 a check found something wrong, 2 the command line
or input is wrong, 3 the API refused, 4 no answer or a failure.
"""

app = typer.Typer(
    name="gatewayctl",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_NOUNS = (
    accounts, keys, budgets, usage, ledger, costs, models, alerts, people, audit, recordings,
    imports,
)  # fmt: skip
for _noun in _NOUNS:
    app.add_typer(_noun.app)
doctor.add_to(app)
settings.add_to(app)
session.add_to(app)
state.add_to(app)


def main(arguments: Sequence[str] | None = None, terminal: Terminal | None = None) -> int:
    """The exit code. `arguments` are by default those of the process."""
    surroundings = terminal or Terminal()
    try:
        code = _command().main(
            arguments, prog_name="gatewayctl", standalone_mode=False, obj=surroundings
        )
    except typer.Abort:
        return INTERRUPTED
    except SystemExit as ended:
        return int(ended.code or DONE)
    except typer.TyperException as error:
        # A wrong option or argument. Of its classes typer exports the base alone, without `show`.
        error.show(surroundings.stderr)  # type: ignore[attr-defined]
        return MISUSED
    except Exception as error:  # noqa: BLE001 - the process's edge
        return _unforeseen(error, surroundings)
    return code if isinstance(code, int) else DONE


@cache
def _command() -> Any:
    """Made of the declarations once, which takes longer than most commands."""
    return get_command(app)


def _unforeseen(error: Exception, surroundings: Terminal) -> int:
    """A fault of this program, or an answer of another shape than its version knows."""
    if surroundings.environ.get("GATEWAYCTL_DEBUG"):
        raise error
    failure = Failed(
        f"unexpected error: {type(error).__name__}: {error}",
        way_out="compare the versions (gatewayctl version); GATEWAYCTL_DEBUG=1 shows where",
    )
    tell(surroundings, failure)
    return failure.exit_code
