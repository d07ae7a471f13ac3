"""The filters of list commands."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gatewayctl.amounts import time_of
from gatewayctl.commands import CommandSession
from gatewayctl.errors import Misused

Account = Annotated[
    str | None, typer.Option("--account", metavar="USER_ID", help="Of this account.")
]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY_ID", help="Of this key.")]
Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Asked for, routed to, or both.")
]
Provider = Annotated[str | None, typer.Option("--provider", help="Of this provider alone.")]
Status = Annotated[
    str | None, typer.Option("--status", metavar="STATUS", help="Such as ok, error or unpriced.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Any further filter of the API: provider=openai, tag=team:blue, above_usd=1.",
    ),
]


def where_of(texts: Sequence[str] | None, **options: Any) -> dict[str, Any]:
    """Query parameters, whose names the API checks. Raises Misused."""
    query: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Misused(f"--where {text!r} is not FIELD=VALUE.")
        if name in query or options.get(name) is not None:
            raise Misused(f"--where {text!r}: {name} is given twice.")
        query[name] = value
    return query | {name: value for name, value in options.items() if value is not None}


def query_of(
    session: CommandSession,
    texts: Sequence[str] | None,
    *,
    since: str | None = None,
    until: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """As `where_of`, with times. Raises Misused."""
    now = session.terminal.now()
    return where_of(texts, since=time_of(since, now), until=time_of(until, now), **options)
