"""Prices that a row of LiteLLM's map says will change, or have: it has no dates, only such notes.

An import cannot tell from when to when such a price holds, so it names the row and its note.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_MAX_NOTE = 500
_MAX_READ = 4_000
# A limit in time: a word for it before a date, or one that says so without a date.
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
_DATE = rf"(?:(?:\d{{1,2}}|the|end of)\s+)*(?:20\d\d-\d\d|(?:{_MONTHS})\b)"
_PASSING = re.compile(
    rf"\b(?:until|till|through|effective|starting|beginning|from|before|after|by)\s+{_DATE}"
    r"|\b(?:promotion\w*|introductory|temporar\w+|limited[- ]time|discount ends|afterwards)\b",
    re.IGNORECASE,
)


class _Noted(msgspec.Struct):
    comment: Any = None
    notes: Any = None
    metadata: Any = None


_decode = msgspec.json.Decoder(_Noted).decode


def passing_note(row: bytes | msgspec.Raw) -> str | None:
    """The first note of the row that speaks of a price for a time; None without one."""
    try:
        notes = _decode(row)
    except msgspec.ValidationError:
        return None
    texts = (
        text for value in (notes.comment, notes.notes, notes.metadata) for text in _texts(value)
    )
    return next((text[:_MAX_NOTE] for text in texts if _PASSING.search(text)), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for text in value.values() if isinstance(text, str))
