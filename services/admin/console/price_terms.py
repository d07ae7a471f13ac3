"""Terms of prices in words: rates, fees by name, tiers by their condition."""

from collections.abc import Mapping, Sequence
from typing import Any

from htpy import Node, div

from services.admin.console.elements import NOTHING

_WHOLE = "_cost_per_million"


def term_name(name: str) -> str:
    return name.removesuffix(_WHOLE).replace("_", " ")


def term_lines(value: Any) -> Node:
    """A line for each part of a term that has several."""
    lines = _lines(value)
    return [div[line] for line in lines] if len(lines) > 1 else "".join(lines) or NOTHING


def term_text(value: Any) -> str:
    return "; ".join(_lines(value)) or NOTHING


def _lines(value: Any) -> list[str]:
    match value:
        case None:
            return []
        case Mapping():
            return [f"{term_name(name)}: {_text_of(each)}" for name, each in value.items()]
        case Sequence() if not isinstance(value, str):
            return [", ".join(_lines({k: v for k, v in tier.items() if v})) for tier in value]
        case _:
            return [_text_of(value)]


def _text_of(value: Any) -> str:
    """A number as it was given, without an exponent."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " and ".join(map(_text_of, value))
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_text_of(each)}" for name, each in value.items())
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
