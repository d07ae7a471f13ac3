"""The hours at which a row of LiteLLM's price map has other rates.

`windows` are lists of `HH:MM-HH:MM` in UTC, each for some weekdays, which are those of another time
zone where the row says so; `hours_utc` beside them are for every day. A window may pass midnight,
and one that ends where it begins is the whole day.
"""

from collections.abc import Iterator

import msgspec

from libs.common.schemas.price import EVERY_DAY, Hours
from libs.common.storage.prices.row_fields import Row, RowFieldError, row_field

OFF_PEAK = "off_peak_pricing"
_DAY = 24 * 60
# Minutes that the zone is ahead of UTC, all year round.
_AHEAD = {None: 0, "UTC": 0, "Asia/Shanghai": 8 * 60}
_MAX_WINDOWS = 64


class _HoursRow(msgspec.Struct):
    hours_utc: str | list[str]
    weekdays: tuple[int, ...] | None = None


def read_hours(card: Row) -> tuple[Hours, ...]:
    """Raises RowFieldError where the hours are not such."""
    zone = row_field(card, "weekday_timezone", str | None) if "weekday_timezone" in card else None
    if zone not in _AHEAD:
        raise RowFieldError(f"{OFF_PEAK}.weekday_timezone", "is in an unsupported time zone")
    windows: list[_HoursRow] = []
    if "hours_utc" in card:
        windows.append(_HoursRow(row_field(card, "hours_utc", str | list[str])))
    if "windows" in card:
        windows += row_field(card, "windows", list[_HoursRow])
    hours = tuple(each for window in windows for each in _hours(window, _AHEAD[zone]))
    if len(hours) > _MAX_WINDOWS:
        raise RowFieldError(OFF_PEAK, f"has more than {_MAX_WINDOWS} windows")
    return hours


def _hours(window: _HoursRow, ahead: int) -> Iterator[Hours]:
    weekdays = EVERY_DAY if window.weekdays is None else window.weekdays
    if not all(day in EVERY_DAY for day in weekdays):
        raise RowFieldError(f"{OFF_PEAK}.windows.weekdays", "must be from 1 to 7")
    texts = [window.hours_utc] if isinstance(window.hours_utc, str) else window.hours_utc
    for text in texts:
        start, _, end = text.partition("-")
        for part_start, part_end in _within_a_day(_minute(start), _minute(end)):
            yield from _on_days_of_utc(part_start, part_end, weekdays, ahead)


def _within_a_day(start: int, end: int) -> list[tuple[int, int]]:
    if start < end:
        return [(start, end)]
    return [part for part in ((start, _DAY), (0, end)) if part[0] < part[1]]


def _on_days_of_utc(start: int, end: int, weekdays: tuple[int, ...], ahead: int) -> Iterator[Hours]:
    """Late in UTC's day, a zone that is ahead already has the next one."""
    turn = _DAY - ahead
    if start < turn:
        yield Hours(from_minute=start, to_minute=min(end, turn), weekdays=weekdays)
    if end > turn:
        before = tuple(sorted((day - 2) % 7 + 1 for day in weekdays))
        yield Hours(from_minute=max(start, turn), to_minute=end, weekdays=before)


def _minute(text: str) -> int:
    hour, _, minute = text.strip().partition(":")
    if not (hour.isdecimal() and minute.isdecimal() and len(hour) == len(minute) == 2):
        raise RowFieldError(f"{OFF_PEAK}.hours_utc", "must be HH:MM-HH:MM")
    if int(hour) > 23 or int(minute) > 59:
        raise RowFieldError(f"{OFF_PEAK}.hours_utc", "must be hours of a day")
    return int(hour) * 60 + int(minute)
