"""How requests and answers write the hours of the day at which a price's tier applies."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from libs.common.schemas.price import EVERY_DAY, Hours
from services.admin.validation import FieldRule

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_MAX_HOURS = 16


def _time(value: str, _: datetime) -> str | None:
    return None if _TIME.fullmatch(value) else "must be a time in UTC, from 00:00 to 24:00"


def _weekdays(values: tuple[int, ...], _: datetime) -> str | None:
    return None if len(set(values)) == len(values) else "names a day twice"


class HoursBody(msgspec.Struct, frozen=True, kw_only=True):
    """In UTC, from the one time up to the other, on those weekdays: 1 is Monday, 7 Sunday."""

    begin: Annotated[str, FieldRule(_time)] = msgspec.field(name="from")
    end: Annotated[str, FieldRule(_time)] = msgspec.field(name="to")
    weekdays: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=7)], ...], Meta(min_length=1), FieldRule(_weekdays)
    ] = EVERY_DAY


def _hours(values: tuple[HoursBody, ...], _: datetime) -> str | None:
    if len(values) > _MAX_HOURS:
        return f"has more than {_MAX_HOURS} of them"
    for place, value in enumerate(values):
        if _minute(value.begin) >= _minute(value.end):
            return f"item {place} must end after it begins; split it at 24:00 where it goes on"
    return None


OpenHours = Annotated[tuple[HoursBody, ...], FieldRule(_hours)]


def stored_hours(body: HoursBody) -> Hours:
    return Hours(
        from_minute=_minute(body.begin),
        to_minute=_minute(body.end),
        weekdays=tuple(sorted(body.weekdays)),
    )


def hours_view(hours: Hours) -> dict[str, Any]:
    return {
        "from": _text(hours.from_minute),
        "to": _text(hours.to_minute),
        "weekdays": hours.weekdays,
    }


def overlap(hours: Iterable[HoursBody], others: Iterable[HoursBody]) -> bool:
    """Whether a moment lies in both."""
    others = list(others)
    return any(
        set(one.weekdays) & set(other.weekdays)
        and max(one.begin, other.begin) < min(one.end, other.end)
        for one in hours
        for other in others
    )


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def _text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
