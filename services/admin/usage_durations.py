"""`/admin/usage/durations`: how long the newest calls took, and how much of it the gateway did."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec
from starlette.requests import Request

from libs.common.storage.mongo.entry_filter import EntryFilter
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import Time, UserId
from services.admin.state import State
from services.admin.validation import check_span

# Rollups have no durations; so many entries are read of one period.
_MOST_CALLS = 200
_HALF, _MOST = 50, 95
_TENTH = Decimal("0.1")


class DurationsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive) to `until` (exclusive)."""

    since: Time | None = None
    until: Time | None = None
    user_id: UserId | None = None


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Half of the calls took at most the `median`, and 95 of 100 at most the `p95`."""

    median: Decimal
    p95: Decimal


class DurationsView(msgspec.Struct, frozen=True, kw_only=True):
    """Of `calls`, the newest of the period and at most 200; null where none of them has any."""

    calls: int
    latency_ms: Spread | None
    first_byte_ms: Spread | None
    overhead_ms: Spread | None


async def show_durations(request: Request[State], query: DurationsQuery) -> Answer[DurationsView]:
    state = request.state
    if query.since is not None and query.until is not None:
        check_span(query.since, query.until)
    if query.user_id is not None:
        await find_account(state, query.user_id)
    wanted = EntryFilter(user_id=query.user_id, since=query.since, until=query.until)
    entries = await state["ledger"].newest(wanted, now=state["now"](), limit=_MOST_CALLS)
    calls = [entry for entry in entries if entry.kind == "call"]
    return Answer(
        DurationsView(
            calls=len(calls),
            latency_ms=spread(entry.latency_ms for entry in calls),
            first_byte_ms=spread(entry.first_byte_ms for entry in calls),
            overhead_ms=spread(entry.overhead_ms for entry in calls),
        )
    )


def spread(durations: Iterable[float | None]) -> Spread | None:
    """Each figure is that of one of the calls, to a tenth of a millisecond."""
    known = sorted(each for each in durations if each is not None)
    if not known:
        return None

    def at(share: int) -> Decimal:
        place = -(-len(known) * share // 100)
        return Decimal(str(known[place - 1])).quantize(_TENTH)

    return Spread(median=at(_HALF), p95=at(_MOST))
