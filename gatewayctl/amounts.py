"""Amounts and times on the command line: exact, never a float."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from gatewayctl.errors import Misused

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From then on: 2026-11-24, a time, or 24h ago."),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before then, in the same forms.")
]
# The options of sums, which cover whole days.
SinceDay = Annotated[
    str | None,
    typer.Option("--since", metavar="DAY", help="From that day on: 2026-11-24, today or 7d ago."),
]
UntilDay = Annotated[
    str | None, typer.Option("--until", metavar="DAY", help="Before that day, in the same forms.")
]


def amount(text: str) -> Decimal:
    """Raises typer.BadParameter. The API has the bounds."""
    try:
        value = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise typer.BadParameter(f"{text!r} is not an amount, such as 12.50")
    return value


def time_of(text: str | None, now: datetime) -> str | None:
    """A time with its zone, as the API wants it; `7d` is that long ago. Raises Misused."""
    if text is None:
        return None
    ago = _ago(text, now)
    if ago is not None:
        return ago.isoformat()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _no_time(text) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def day_of(text: str | None, now: datetime) -> str | None:
    """A day without a zone. Raises Misused, also for a part of a day: sums cover days."""
    if text is None:
        return None
    ago = _ago(text, now)
    if ago is not None and text[-1] not in "mh":
        return ago.date().isoformat()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Misused(
            f"{text!r} is not a day, and sums cover whole days.",
            way_out="write 2026-11-24, today, or 7d, 4w",
        ) from None


def later_of(text: str | None, now: datetime) -> str | None:
    """Like `time_of`, but `30d` is that long from now."""
    if text is not None and (ago := _ago(text, now)):
        return (now + (now - ago)).isoformat()
    return time_of(text, now)


def _ago(text: str, now: datetime) -> datetime | None:
    if text == "today":
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    if not (found := _AGO.fullmatch(text)):
        return None
    try:
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise _no_time(text) from None


def _no_time(text: str) -> Misused:
    return Misused(
        f"{text!r} is not a time.",
        way_out="write 2026-11-24, 2026-11-24T12:00:00Z, today, or 30m, 24h, 7d, 4w",
    )
