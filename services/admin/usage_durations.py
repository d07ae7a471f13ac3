"""`/admin/usage/durations`: durations of the newest calls, and the gateway's own share."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

import msgspec
from starlette.requests import Request

from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import Time, UserId
from services.admin.state import State
from services.admin.validation import check_span

# Rollups have no durations; so many entries are read of one period.
_MOST_CALLS = 100
_DEFAULT_SPAN = timedelta(days=30)
# As sums have it.
_MAX_SPAN = timedelta(days=400)
_HALF, _MOST = 50, 95
_TENTH = Decimal("0.1")


class DurationsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive, by default 30 days before) to `until`."""

    since: Time | None = None
    until: Time | None = None
    user_id: UserId | None = None


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Half of the calls took at most the `median`, and 95 of 100 at most the `p95`."""

    median: Decimal
    p95: Decimal


class DurationsView(msgspec.Struct, frozen=True, kw_only=True):
    """Of `calls`, the newest of the period and at most 100; null where none of them has any."""

    calls: int
    latency_ms: Spread | None
    first_byte_ms: Spread | None
    overhead_ms: Spread | None


async def show_durations(request: Request[State], query: DurationsQuery) -> Answer[DurationsView]:
    state = request.state
    now = state["now"]()
    until = query.until or now
    since = query.since or until - _DEFAULT_SPAN
    check_span(since, until, longest=_MAX_SPAN)
    if query.user_id is not None:
        await find_account(state, query.user_id)
    calls = await state["call_times"].newest(
        query.user_id, since, min(until, now), limit=_MOST_CALLS
    )
    return Answer(
        DurationsView(
            calls=len(calls),
            latency_ms=spread(call.latency_ms for call in calls),
            first_byte_ms=spread(call.first_byte_ms for call in calls),
            overhead_ms=spread(call.overhead_ms for call in calls),
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
