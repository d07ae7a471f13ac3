"""The options that all commands share, and how commands end.

A noun is a `typer.Typer` of `noun()`, a verb a function under `@verb(noun, "name")` whose first
argument is the context; `session_of` has what it works with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperOption

from gatewayctl.client import ApiClient
from gatewayctl.errors import DONE, CommandError
from gatewayctl.output import Output
from gatewayctl.profiles import connection_of
from gatewayctl.terminal import Terminal
from gatewayctl.values import check_query

F = TypeVar("F", bound=Callable[..., Any])

Limit = Annotated[
    int, typer.Option("--limit", min=1, max=1_000_000, help="Print at most this many rows.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what it would change, and change nothing.")
]
DEFAULT_LIMIT = 100
# Of the options that all commands have, so that one can have an argument of the same name.
OF_ALL = "of_all_"
_TIMEOUT_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """Those of every command."""

    json: str | None = None
    query: str | None = None
    url: str | None = None
    profile: str | None = None
    timeout: float = _TIMEOUT_S
    idempotency_key: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(f.strip() for f in (self.json or "").split(",") if f.strip())


def _options() -> list[TyperOption]:
    return [
        TyperOption(
            param_decls=[OF_ALL + "json", "--json"],
            metavar="FIELDS",
            help="Print these fields, as lines of JSON.",
        ),
        TyperOption(
            param_decls=[OF_ALL + "query", "--query"],
            metavar="JMESPATH",
            help="Print what the expression finds, such as '[].user_id'.",
        ),
        TyperOption(
            param_decls=[OF_ALL + "url", "--url"], metavar="URL", help="Where the admin API is."
        ),
        TyperOption(
            param_decls=[OF_ALL + "profile", "--profile"],
            metavar="NAME",
            help="The profile to use.",
        ),
        TyperOption(
            param_decls=[OF_ALL + "timeout", "--timeout"],
            metavar="SECONDS",
            type=float,
            default=_TIMEOUT_S,
            show_default=True,
            help="How long to wait for an answer.",
        ),
    ]


_IDEMPOTENCY_KEY = {
    "param_decls": [OF_ALL + "idempotency_key", "--idempotency-key"],
    "metavar": "KEY",
    "help": "Repeat an earlier command with its key: it is answered again and does nothing again.",
}


class Command(TyperCommand):
    """A verb. Its errors become exit codes, and a pipe that closes ends it quietly."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _options()
        for param in self.params:
            if isinstance(param, TyperOption) and not param.is_flag and param.metavar is None:
                param.metavar = str(param.name).upper()

    def invoke(self, ctx: Any) -> Any:
        names = [name for name in ctx.params if name.startswith(OF_ALL)]
        options = {name.removeprefix(OF_ALL): ctx.params.pop(name) for name in names}
        session = CommandSession(terminal=ctx.obj, options=Options(**options))
        ctx.obj = session
        try:
            if session.options.query is not None:
                check_query(session.options.query)
            result = super().invoke(ctx)
            session.output.end()
            return result
        except CommandError as error:
            tell(session.terminal, error)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise typer.Exit(DONE) from None
        finally:
            session.close()


class WritingCommand(Command):
    """A verb that makes or starts something."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(TyperOption(**_IDEMPOTENCY_KEY))  # type: ignore[arg-type]


class CommandSession:
    """The context of a command. It connects with the first request."""

    def __init__(self, *, terminal: Terminal, options: Options) -> None:
        self.terminal = terminal
        self.options = options
        self.output = Output(
            terminal=terminal,
            has_changed=lambda: "client" in self.__dict__ and self.client.has_changed,
            fields=options.fields,
            query=options.query,
        )

    @cached_property
    def client(self) -> ApiClient:
        """Raises CommandError where there is no key."""
        options = self.options
        return ApiClient(
            connection_of(self.terminal.environ, url=options.url, profile=options.profile),
            self.terminal,
            timeout_s=options.timeout,
            idempotency_key=options.idempotency_key,
        )

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()


def session_of(ctx: typer.Context) -> CommandSession:
    session = ctx.obj
    assert isinstance(session, CommandSession)  # noqa: S101 - set by `Command.invoke`
    return session


def noun(name: str, summary: str) -> typer.Typer:
    return typer.Typer(
        name=name,
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
    )


def verb(group: typer.Typer, name: str, *, writes: bool = False) -> Callable[[F], F]:
    return group.command(name, cls=WritingCommand if writes else Command)


def tell(terminal: Terminal, error: CommandError) -> None:
    terminal.say(f"gatewayctl: {error.message}")
    for line in error.details:
        terminal.say(f"  {line}")
    if error.way_out:
        terminal.say(f"  -> {error.way_out}")
