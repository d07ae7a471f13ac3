"""The classes of tokens, and which of a price's rates each has.

Invariant: every class has a rate, since what its own lacks falls back on another of its side.
"""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from libs.common.schemas.price import Rates
from libs.common.schemas.usage import TokenCounts

_INPUT = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_30m",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "citation",
)
_OUTPUT = ("output_text", "reasoning", "output_audio", "output_image")
# In the order of TokenCounts' fields.
_CLASSES = _INPUT + _OUTPUT
# The rates to try for each class, in order; the last one is always set.
_RATES: dict[str, tuple[str, ...]] = {
    "input_text": ("input",),
    "cache_read": ("cache_read", "input"),
    "cache_write_5m": ("cache_write_5m", "cache_write_30m", "input"),
    "cache_write_1h": ("cache_write_1h", "cache_write_5m", "cache_write_30m", "input"),
    "cache_write_30m": ("cache_write_30m", "cache_write_5m", "input"),
    "cache_write_12h": (
        "cache_write_12h",
        "cache_write_1h",
        "cache_write_30m",
        "cache_write_5m",
        "input",
    ),
    "input_audio": ("input_audio", "input"),
    "input_image": ("input_image", "input"),
    "citation": ("citation", "input"),
    "output_text": ("output",),
    "reasoning": ("reasoning", "output"),
    "output_audio": ("output_audio", "output"),
    "output_image": ("output_image", "output"),
}
# OpenAI's, which differ between models as Anthropic's do not: another write's rate is a guess.
_OWN_RATES = ("cache_write_30m", "cache_write_12h")


def total_tokens(usage: TokenCounts) -> int:
    """Input and output of every class."""
    return sum(filter(None, msgspec.structs.astuple(usage)[: len(_CLASSES)]))


def total_input(usage: TokenCounts) -> int:
    """Of every class, cached ones included; 0 also where none is reported."""
    return sum(filter(None, msgspec.structs.astuple(usage)[: len(_INPUT)]))


def total_output(usage: TokenCounts) -> int:
    """As `total_input`."""
    return sum(filter(None, msgspec.structs.astuple(usage)[len(_INPUT) : len(_CLASSES)]))


def used_classes(usage: TokenCounts) -> list[tuple[str, int]]:
    """The classes that hold any tokens, with how many."""
    counts = msgspec.structs.astuple(usage)
    return [(name, tokens) for name, tokens in zip(_CLASSES, counts, strict=False) if tokens]


def rate_of(rates: Rates, token_class: str) -> Decimal:
    """USD per million tokens."""
    for name in _RATES[token_class]:
        rate: Decimal | None = getattr(rates, name)
        if rate is not None:
            return rate
    raise AssertionError(f"no rate for {token_class}")


def borrowed_rates(rates: Rates, usage: TokenCounts) -> Iterator[str]:
    """The classes that were used and have the rate of a cache write of another kind."""
    for name in _OWN_RATES:
        if getattr(usage, name) and getattr(rates, name) is None:
            others = (getattr(rates, other) for other in _RATES[name][1:-1])
            if any(rate is not None for rate in others):
                yield name
