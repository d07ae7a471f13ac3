"""`gatewayctl usage tail`."""

from collections import OrderedDict
from datetime import timedelta
from typing import Annotated, Any

import typer

from gatewayctl.commands import CommandSession, session_of
from gatewayctl.filters import Account, Key, Model, Status, Where, where_of
from gatewayctl.values import Row

# What is looked at again, for calls that began before others and ended after them.
_LOOKBACK = timedelta(minutes=15)
_PAGE = 200
_MAX_PAGES = 10
_MAX_SEEN = 20_000


def tail(
    ctx: typer.Context,
    *,
    last: Annotated[int, typer.Option("--last", min=0, max=_PAGE, help="Begin with these.")] = 10,
    every: Annotated[
        float, typer.Option("--every", min=0.2, metavar="SECONDS", help="How often to look.")
    ] = 2.0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after this many entries.")
    ] = None,
    account: Account = None,
    key: Key = None,
    model: Model = None,
    status: Status = None,
    where: Where = None,
) -> None:
    """Print entries as they are posted, until Ctrl-C.

    A call that took longer than 15 minutes may be missed.
    """
    session = session_of(ctx)
    query = where_of(where, user_id=account, key_id=key, model=model, status=status)
    seen: OrderedDict[str, None] = OrderedDict()
    printed = 0
    is_first = True
    while count is None or printed < count:
        unseen = _unseen_entries(session, query, seen, is_first=is_first)
        entries = unseen[: last if count is None else min(last, count)] if is_first else unseen
        entries = entries[::-1]
        if count is not None:
            entries = entries[: count - printed]
        for entry in entries:
            _print(session, entry, header=printed == 0)
            printed += 1
        is_first = False
        if count is None or printed < count:
            session.terminal.sleep(every)


def _unseen_entries(
    session: CommandSession, query: dict[str, Any], seen: OrderedDict[str, None], *, is_first: bool
) -> list[Row]:
    """The entries not seen yet, the newest first; bounded at each look."""
    # The first look begins with older ones, too.
    since = None if is_first else (session.terminal.now() - _LOOKBACK).isoformat()
    entries: list[Row] = []
    cursor = None
    for number in range(_MAX_PAGES):
        page_query = {**query, "since": since, "limit": _PAGE, "cursor": cursor}
        page = session.client.get("/admin/usage", page_query)
        unseen = [entry for entry in page["data"] if entry["entry_id"] not in seen]
        entries += unseen
        seen.update((entry["entry_id"], None) for entry in unseen)
        cursor = page["next_cursor"]
        if is_first or not unseen or cursor is None:
            break
        if number == _MAX_PAGES - 1:
            session.terminal.say("gatewayctl: more came than can be shown; some are left out.")
    while len(seen) > _MAX_SEEN:
        seen.popitem(last=False)
    return entries


def _print(session: CommandSession, entry: Row, *, header: bool) -> None:
    if not session.output.is_table:
        session.output.rows([entry], ())
        return
    from gatewayctl.tables import cell_text

    if header:
        session.output.text(f"{'STARTED':<20}  {'COST USD':>14}  {'STATUS':<9}  ACCOUNT  MODEL")
    cost = cell_text(entry["cost_usd"])
    line = f"{cell_text(entry['started_at']):<20}  {cost:>14}  {entry['status']:<9}"
    session.output.text(f"{line}  {entry['user_id']}  {cell_text(entry['model'])}")
