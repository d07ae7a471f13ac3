"""Sums of token classes, as tables show them."""

from collections.abc import Mapping

from libs.common.schemas.usage import TokenCounts

_CLASSES = TokenCounts.__struct_fields__
# The classes up to this one are input.
_LAST_INPUT = _CLASSES.index("citation") + 1


def input_tokens(tokens: Mapping[str, int]) -> int:
    return sum(tokens.get(name) or 0 for name in _CLASSES[:_LAST_INPUT])


def output_tokens(tokens: Mapping[str, int]) -> int:
    return sum(tokens.get(name) or 0 for name in _CLASSES[_LAST_INPUT:])


def counts_of(usage: TokenCounts | None) -> dict[str, int]:
    """The classes that were reported."""
    found = {name: getattr(usage, name, None) for name in _CLASSES}
    return {name: number for name, number in found.items() if number}
