"""Converts amounts, rates, counts and periods of other gateways."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

_NANO = Decimal("1e-9")
_PICO = Decimal("1e-12")
_MILLION = 1_000_000
_EXACT = Context(prec=100)
# The bounds of budgets and amounts of the admin API.
MAX_USD = Decimal("9007199.254740991")
MAX_COUNT = 1_000_000_000
_DURATION = re.compile(r"(\d{1,9})\s*(s|m|h|d|w|mo)")
_WORDS = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "1mo"}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 2_592_000}
_DAY_S = 86_400
_MONTH_S = 31 * _DAY_S
_30_DAYS_S = 30 * _DAY_S


@dataclass(frozen=True)
class ConvertedPeriod:
    """`share` is the part of the limit that one period gets; `note` is empty where it is equal."""

    name: str
    share: Decimal = Decimal(1)
    note: str = ""


def number(value: Any) -> Decimal | None:
    """None unless it is a finite number. Text is read, since YAML takes 1e-6 for text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        decimal = Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return decimal if decimal.is_finite() else None


def whole_count(value: Any) -> int | None:
    """None unless it is a whole number from 0 on."""
    count = number(value)
    if count is None or count < 0 or count > Decimal("1e18") or count != count.to_integral_value():
        return None
    return int(count)


def bounded_usd(value: Decimal) -> Decimal:
    """To the nearest nano-USD, within what an amount can be."""
    bounded = max(-MAX_USD, min(value, MAX_USD))
    return _plain(bounded.quantize(_NANO, rounding=ROUND_HALF_EVEN, context=_EXACT))


def per_million(per_token: Decimal) -> Decimal:
    """A rate in USD per million tokens, to the nearest pico-USD."""
    rate = _EXACT.multiply(per_token, Decimal(_MILLION))
    return _plain(rate.quantize(_PICO, rounding=ROUND_HALF_EVEN, context=_EXACT))


def period_of(duration: str | None) -> ConvertedPeriod | None:
    """None unless it is a duration. A period that does not exist here never allows more spend."""
    if duration is None:
        return ConvertedPeriod("total")
    match = _DURATION.fullmatch(_WORDS.get(duration, duration).strip().lower())
    if match is None or int(match[1]) == 0:
        return None
    return period_of_seconds(int(match[1]) * _SECONDS[match[2]], duration)


def period_of_seconds(seconds: int, duration: str) -> ConvertedPeriod:
    if seconds == _DAY_S:
        return ConvertedPeriod("daily")
    if seconds == 7 * _DAY_S:
        return ConvertedPeriod("weekly", note="counts by calendar weeks")
    if _30_DAYS_S <= seconds <= _MONTH_S:
        return ConvertedPeriod("monthly", note="counts by calendar months")
    for name, length_s in (("daily", _DAY_S), ("weekly", 7 * _DAY_S), ("monthly", _MONTH_S)):
        if seconds < length_s:
            return ConvertedPeriod(
                name, note=f"the limit of {duration} holds for a longer period, {name}"
            )
    share = Decimal(_30_DAYS_S) / Decimal(seconds)
    return ConvertedPeriod(
        "monthly", share, f"of the limit of {duration}, 30 days' part holds monthly"
    )


def weights(parts: Sequence[Decimal], *, scaled: bool = False) -> list[int]:
    """Whole numbers from 1 to 1,000 in the same proportion, as far as they can be.

    With `scaled` the largest is 1,000.
    """
    largest = max(parts)
    if not scaled and all(each == each.to_integral_value() and 1 <= each <= 1000 for each in parts):
        return [int(each) for each in parts]
    return [max(1, round(each * 1000 / largest)) for each in parts]


def _plain(value: Decimal) -> Decimal:
    """Without zeros at the end or an exponent."""
    shortest = value.normalize(_EXACT)
    exponent = shortest.as_tuple().exponent
    return (
        shortest if isinstance(exponent, int) and exponent <= 0 else shortest.quantize(Decimal(1))
    )
