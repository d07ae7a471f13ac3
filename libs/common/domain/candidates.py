"""Chooses the deployment to try next. Time and chance are arguments.

Invariants: no candidate is tried twice while another is untried; a lower rank goes first; among
equal ranks, the chance of each is its weight's share.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """`rank` orders candidates: the route's own before its fallbacks', then by priority."""

    @property
    def deployment_id(self) -> str: ...

    @property
    def rank(self) -> tuple[int, int]: ...

    @property
    def weight(self) -> int: ...


C = TypeVar("C", bound=Candidate)


def next_candidate(
    candidates: Sequence[C],
    *,
    tried: Sequence[str],
    usable: Callable[[C], bool],
    chance: float,
) -> C | None:
    """The candidate to try next, None if none is usable; `chance` is from [0, 1).

    Tried candidates come last, the one whose try is longest ago first.
    """
    open_to_try = [candidate for candidate in candidates if usable(candidate)]
    if len(open_to_try) == 1:
        return open_to_try[0]
    untried = [c for c in open_to_try if c.deployment_id not in tried]
    if untried:
        best = min(candidate.rank for candidate in untried)
        return _weighted([c for c in untried if c.rank == best], chance)
    by_age = sorted(open_to_try, key=lambda c: _last_try(c.deployment_id, tried))
    return by_age[0] if by_age else None


def _weighted(equals: Sequence[C], chance: float) -> C:
    point = chance * sum(candidate.weight for candidate in equals)
    for candidate in equals:
        point -= candidate.weight
        if point < 0:
            return candidate
    return equals[-1]


def _last_try(deployment_id: str, tried: Sequence[str]) -> int:
    return max(index for index, other in enumerate(tried) if other == deployment_id)


def backoff_s(attempt: int, chance: float, *, base_s: float = 0.25, cap_s: float = 4.0) -> float:
    """Full jitter under an exponential ceiling; `attempt` counts from 1."""
    return float(min(cap_s, base_s * 2 ** (attempt - 1)) * chance)
