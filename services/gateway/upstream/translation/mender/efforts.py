"""Efforts, in words and in tokens."""

from collections.abc import Collection
from typing import get_args

from services.gateway.upstream.translation.conversation import Effort

_ORDER: tuple[Effort, ...] = get_args(Effort)
_RANKS = {effort: rank for rank, effort in enumerate(_ORDER)}
BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 32768,
}
# The largest budget that is still of the effort.
_UP_TO: tuple[tuple[int, Effort], ...] = (
    (1024, "minimal"),
    (2048, "low"),
    (8192, "medium"),
    (24576, "high"),
)


def effort_of(budget_tokens: int) -> Effort:
    for max_tokens, effort in _UP_TO:
        if budget_tokens <= max_tokens:
            return effort
    return "xhigh"


def nearest_effort(effort: Effort, levels: Collection[Effort]) -> Effort:
    """The nearest of the levels, the higher one of two; `none` is near to none but itself."""
    others = [level for level in levels if level != "none"]
    if effort in levels or not others:
        return effort
    rank = _RANKS[effort]
    return min(others, key=lambda level: (abs(_RANKS[level] - rank), -_RANKS[level]))


def least(levels: Collection[Effort]) -> Effort:
    return min(levels, key=_RANKS.__getitem__)
