"""Reads single counts out of a provider's `usage` object, and puts its reports together.

Invariants: one odd member never spoils those beside it; a count that is taken is a whole number
from 0 to `MAX_TOKENS`. Merging is commutative for counts: the larger one wins, since what a
provider reports of a call is cumulative.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.money import EXACT
from libs.common.schemas.usage import UsageNote

# A `usage` object as JSON gives it; fractions are Decimals, so that no cost passes a float.
UsageReport = Mapping[str, Any]
# Token classes by name: numbers or None.
Counts = dict[str, Any]

# No call is so large. The bound keeps costs within the integers that events and MongoDB can hold.
MAX_TOKENS = 1_000_000_000
_MAX_DIGITS = 12
_MAX_USD = 1_000_000
# The one number that is not a count and larger than any: xAI's 1e-10 USD.
_TICKS, _MOST_TICKS = "cost_in_usd_ticks", _MAX_USD * 10**10

_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def decode_report(raw: bytes) -> UsageReport | None:
    """None where it is not an object."""
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


class ReportReader:
    """Reads counts out of one report; `notes` tell what it met."""

    __slots__ = ("notes",)

    def __init__(self) -> None:
        self.notes: list[UsageNote] = []

    def note(self, note: UsageNote) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def counts(self, members: Any, names: Mapping[str, str]) -> Counts:
        """The members in `names`, under the names given there; of several the largest.

        Empty where `members` is not an object. An unreadable count is noted, and counts as absent.
        """
        counts: Counts = {}
        if not isinstance(members, dict):
            return counts
        for name, value in members.items():
            our_name = names.get(name)
            if our_name is None or value is None:
                continue
            count = value if type(value) is int and 0 <= value <= MAX_TOKENS else count_of(value)
            if count is None:
                self.note("count_unreadable")
            elif count > counts.get(our_name, -1):
                counts[our_name] = count
        return counts

    def split(self, total: int | None, parts: Counts, base: str) -> Counts:
        """The parts as far as they fit into the total, the first ones first; the rest is `base`.

        Without a total the parts stand alone.
        """
        if total is None:
            return parts
        for name, part in parts.items():
            if part > total:
                self.note("details_clamped")
                parts[name] = total
            total = max(total - part, 0)
        parts[base] = total
        return parts


def count_of(value: Any) -> int | None:
    """A whole number that any call can have; a fraction counts as the next one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, float):
        value = Decimal(value)
    if isinstance(value, Decimal):
        if not value.is_finite() or not 0 <= value <= MAX_TOKENS:
            return None
        value = int(value.to_integral_value(ROUND_CEILING))
    return value if isinstance(value, int) and 0 <= value <= MAX_TOKENS else None


def word_of(value: Any) -> str | None:
    """A name such as a tier's; other servers may mean something else by the member."""
    return value if isinstance(value, str) else None


def usd_of(value: Any, decimals: int = 0) -> Decimal | None:
    """An amount that no call is beyond, given in units of so many decimals of a dollar.

    None where it is none, is negative, or is finer than any amount. Floats come from libraries.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        usd = EXACT.scaleb(amount, -decimals)
    except ArithmeticError:
        return None
    return usd if usd.is_finite() and 0 <= usd <= _MAX_USD else None


def merged(first: UsageReport, later: UsageReport) -> UsageReport:
    """Both reports of one call: of counts the larger, of all else the later that is not null."""
    if not first:
        return later
    report = dict(first)
    for name, value in later.items():
        most = _MOST_TICKS if name == _TICKS else MAX_TOKENS
        report[name] = _merged_value(report.get(name), value, most)
    return report


def _merged_value(first: Any, later: Any, most: int) -> Any:
    if type(first) is int and type(later) is int and 0 <= first <= most and 0 <= later <= most:
        # As nearly all are.
        return max(first, later)
    if isinstance(first, Mapping) and isinstance(later, Mapping):
        return merged(first, later)
    if isinstance(first, list) and isinstance(later, list):
        return _merged_list(first, later)
    before, after = _number_of(first, most), _number_of(later, most)
    if before is not None and after is not None:
        return first if before > after else later
    return later if _weight(later) >= _weight(first) else first


def _number_of(value: Any, most: int) -> Decimal | None:
    """Of a count, or of an amount in whatever unit, within what any call has."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(value)
    return number if number.is_finite() and 0 <= number <= most else None


def _weight(value: Any) -> int:
    """A member's weight in a merge: an empty or unreadable one never replaces another."""
    if isinstance(value, Mapping | list):
        return 3 if value else 0
    if value is None or isinstance(value, bool):
        return 0
    count = count_of(value)
    if count is None:
        return 1 if isinstance(value, str) else 0
    return 3 if count else 2


def _merged_list(first: list[Any], later: list[Any]) -> list[Any]:
    """Runs of models: each is matched with that of the same kind, in their order."""
    runs = dict(_keyed(first))
    for key, run in _keyed(later):
        runs[key] = merged(runs[key], run) if key in runs else run
    return list(runs.values())


def _keyed(runs: list[Any]) -> Iterable[tuple[tuple[str, str, int], UsageReport]]:
    seen: dict[tuple[str, str], int] = {}
    for run in runs:
        if not isinstance(run, Mapping):
            continue
        # The run that completes a turn is reported as a message until it has.
        kind = str(run.get("type")).replace("fallback_message", "message")
        key = (kind, str(run.get("model")))
        seen[key] = seen.get(key, -1) + 1
        yield (*key, seen[key]), run
