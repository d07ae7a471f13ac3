"""`gatewayctl usage`: calls and their costs."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from gatewayctl.amounts import Since, SinceDay, Until, UntilDay, day_of, time_of
from gatewayctl.client import at
from gatewayctl.commands import DEFAULT_LIMIT, CommandSession, Limit, noun, session_of, verb
from gatewayctl.downloads import Force, To, download
from gatewayctl.errors import CommandError
from gatewayctl.filters import Account, Key, Model, Status, Where, query_of, where_of
from gatewayctl.nouns.tail import tail
from gatewayctl.values import Row

app = noun("usage", "Calls and what they cost.")
_COLUMNS = (
    "entry id=entry_id", "started=started_at", "cost usd=cost_usd", "status", "account=user_id",
    "model", "ms=latency_ms", "error=error_code", "kind",
)  # fmt: skip
_ACCEPT = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
# What a group is called in an answer, where it is not what it is asked by.
_FIELDS = {"account": "user_id", "key": "key_id"}
_LONGEST_SPAN = timedelta(days=399)
_DAY = len("2026-11-24")

verb(app, "tail")(tail)

GroupBy = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="FIELDS",
        help="Such as model, account, key, provider, day, tag:team.",
    ),
]
Zone = Annotated[str | None, typer.Option("--zone", help="Whose days: Europe/Berlin.")]


@verb(app, "show")
def show_usage(
    ctx: typer.Context,
    user_id: Annotated[
        str | None, typer.Argument(metavar="[USER_ID]", help="Of this account; of all without.")
    ] = None,
    *,
    key: Key = None,
    model: Model = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    limit: Limit = DEFAULT_LIMIT,
) -> None:
    """List entries of the ledger, the newest first."""
    session = session_of(ctx)
    query = query_of(
        session, where, since=since, until=until, key_id=key, model=model, status=status
    )
    path = "/admin/usage" if user_id is None else at("/admin/usage/user/{}", user_id)
    session.output.rows(session.client.pages(path, query, limit), _COLUMNS)


@verb(app, "summary")
def summary(
    ctx: typer.Context,
    *,
    by: GroupBy = "model",
    account: Account = None,
    key: Key = None,
    model: Model = None,
    since: SinceDay = None,
    until: UntilDay = None,
    zone: Zone = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="With as many days before as well.")
    ] = False,
    where: Where = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="The dearest.")] = 20,
) -> None:
    """Sum usage up by group, of the last 30 days unless --since says otherwise."""
    session = session_of(ctx)
    query = _sums(session, where, since, until, account, key, model) | where_of(
        None, group_by=by, zone=zone, compare="previous" if compare else None, limit=limit
    )
    answer = session.client.get("/admin/usage/summary", query)
    if not session.output.is_table:
        session.output.one(answer)
        return
    from gatewayctl.bars import bars

    rows = [(_group(by, row), row) for row in answer["data"]]
    if answer["rest"] is not None:
        rows.append(("(all others)", answer["rest"]))
    bars(session.terminal, by, rows)
    total = answer["total"]
    previous = total.get("previous")
    comparison = f"; {previous['cost_usd']:f} USD before" if previous else ""
    session.output.done(
        f"From {answer['since']} on, before {answer['until']}: {total['cost_usd']:f} USD, "
        f"{total['calls']} calls{comparison}."
    )


@verb(app, "series")
def series(
    ctx: typer.Context,
    *,
    interval: Annotated[str, typer.Option("--interval", help="hour, day, week or month.")] = "day",
    account: Account = None,
    key: Key = None,
    model: Model = None,
    since: SinceDay = None,
    until: UntilDay = None,
    zone: Zone = None,
    where: Where = None,
) -> None:
    """Show usage over time."""
    session = session_of(ctx)
    query = _sums(session, where, since, until, account, key, model)
    answer = session.client.get(
        "/admin/usage/series", query | where_of(None, interval=interval, zone=zone)
    )
    if not session.output.is_table:
        session.output.one(answer)
        return
    from gatewayctl.bars import bars

    points = [(point["start"], point) for point in answer["total"]]
    bars(session.terminal, interval, points)


@verb(app, "durations")
def durations(
    ctx: typer.Context, *, account: Account = None, since: Since = None, until: Until = None
) -> None:
    """Show how long the newest calls took, and what of it was the gateway's own."""
    session = session_of(ctx)
    query = query_of(session, None, since=since, until=until, user_id=account)
    session.output.one(session.client.get("/admin/usage/durations", query))


@verb(app, "export")
def export(
    ctx: typer.Context,
    *,
    to: To = "-",
    form: Annotated[
        str | None, typer.Option("--format", help="csv, ndjson or parquet; the file's ending.")
    ] = None,
    force: Force = False,
    account: Account = None,
    key: Key = None,
    model: Model = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    zone: Zone = None,
    where: Where = None,
) -> None:
    """Write all entries that the filters leave to a file, which is never half there."""
    session = session_of(ctx)
    file_format = form or _by_ending(to)
    query = query_of(
        session, where, since=since, until=until,
        user_id=account, key_id=key, model=model, status=status, zone=zone, format=file_format,
    )  # fmt: skip
    expected_lines = None
    if session.terminal.stderr.isatty() and file_format != "parquet" and not where:
        expected_lines = _count_entries(session, account, since, until)
    download(
        session, "/admin/usage/export", query,
        accept=_ACCEPT.get(file_format, "*/*"), to=to, force=force, expected_lines=expected_lines,
    )  # fmt: skip


def _sums(
    session: CommandSession,
    where: list[str] | None,
    since: str | None,
    until: str | None,
    account: str | None,
    key: str | None,
    model: str | None,
) -> dict[str, Any]:
    now = session.terminal.now()
    return where_of(
        where, since=day_of(since, now), until=day_of(until, now),
        user_id=account, key_id=key, model=model,
    )  # fmt: skip


def _group(by: str, row: Row) -> str:
    names = []
    for field in by.split(","):
        value = row.get(_FIELDS.get(field, field))
        if field.startswith("tag:"):
            value = (row.get("tags") or {}).get(field.removeprefix("tag:"))
        # A correction has no model, and would be an unnamed sum without a call.
        placeholder = "-" if row["calls"] else "(corrections)"
        names.append(placeholder if value is None else str(value))
    return " / ".join(names)


def _by_ending(to: str) -> str:
    ending = to.rpartition(".")[2]
    return {"parquet": "parquet", "ndjson": "ndjson", "jsonl": "ndjson"}.get(ending, "csv")


def _count_entries(
    session: CommandSession, account: str | None, since: str | None, until: str | None
) -> int | None:
    """The approximate number of entries; None if unknown."""
    now = session.terminal.now()
    try:
        query = {
            "user_id": account,
            "since": (time_of(since, now) or (now - _LONGEST_SPAN).isoformat())[:_DAY],
            "until": (time_of(until, now) or "")[:_DAY] or None,
            "limit": 1,
        }
        total = session.client.get("/admin/usage/summary", query)["total"]
    except CommandError:
        return None
    return int(total["calls"]) + int(total["corrections"])
