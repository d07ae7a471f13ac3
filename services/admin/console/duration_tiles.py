"""The overview's tiles of call durations, beside the period before."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from htpy import Node, div, p

from services.admin import usage_durations
from services.admin.console.elements import NOTHING, figure_tile
from services.admin.console.page import View
from services.admin.usage_durations import Spread

Which = Literal["median", "p95"]
_SHORT_MS = 10


async def duration_tiles(view: View, period: Mapping[str, Any], days: int) -> Node:
    """Of the newest calls of the period, beside those of the one before."""
    since, span = _instant(period["since"]), timedelta(days=days)
    account = {"user_id": period.get("user_id")}
    now, before = await asyncio.gather(
        *(
            view.api.call(
                usage_durations.show_durations,
                query={"since": start.isoformat(), "until": (start + span).isoformat(), **account},
            )
            for start in (since, since - span)
        )
    )
    tiles = (
        _duration("Latency, median", now.latency_ms, before.latency_ms, "median"),
        _duration("Latency, p95", now.latency_ms, before.latency_ms, "p95"),
        _duration("First byte, median", now.first_byte_ms, before.first_byte_ms, "median"),
        _duration("Overhead, median", now.overhead_ms, before.overhead_ms, "median"),
        _duration("Overhead, p95", now.overhead_ms, before.overhead_ms, "p95"),
    )
    note = f"Times are of the newest {now.calls:,} calls; overhead is the gateway's own."
    return [div(".tiles")[tiles], bool(now.calls) and p(".under-tiles")[note]]


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _duration(name: str, now: Spread | None, before: Spread | None, which: Which) -> Node:
    if now is None:
        return figure_tile(name, NOTHING, "no call in this period")
    note = None if before is None else f"{_figure(before, which):,} ms before"
    return figure_tile(name, f"{_figure(now, which):,} ms", note)


def _figure(spread: Spread, which: Which) -> Decimal:
    """Tenths matter for what is short."""
    value = spread.median if which == "median" else spread.p95
    return value if value < _SHORT_MS else value.quantize(Decimal(1))
