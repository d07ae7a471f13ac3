"""Which deployment comes next, over any deployments, histories and chances."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.candidates import backoff_s, next_candidate


class Candidate(msgspec.Struct, frozen=True):
    deployment_id: str
    rank: tuple[int, int] = (0, 0)
    weight: int = 1


RANKS = st.tuples(st.integers(0, 2), st.integers(0, 2))
CANDIDATES = st.lists(
    st.builds(Candidate, st.text("abcdef", min_size=1, max_size=1), RANKS, st.integers(1, 1000)),
    max_size=6,
    unique_by=lambda candidate: candidate.deployment_id,
)
CHANCE = st.floats(0, 1, exclude_max=True)


def among(names: str) -> Callable[[Candidate], bool]:
    return lambda candidate: candidate.deployment_id in names


@given(CANDIDATES, st.lists(st.sampled_from("abcdef")), st.text("abcdef"), CHANCE)
def test_the_next_candidate_keeps_the_invariants(
    candidates: list[Candidate], tried: list[str], usable: str, chance: float
) -> None:
    tried = [name for name in tried if name in {c.deployment_id for c in candidates}]
    open_to_try = [c for c in candidates if c.deployment_id in usable]
    untried = [c for c in open_to_try if c.deployment_id not in tried]

    chosen = next_candidate(candidates, tried=tried, usable=among(usable), chance=chance)

    if chosen is None:
        assert not open_to_try
    elif untried:
        assert chosen in untried
        assert chosen.rank == min(candidate.rank for candidate in untried)
    else:
        assert chosen in open_to_try
        since = tried[::-1].index(chosen.deployment_id)
        assert all(since >= tried[::-1].index(c.deployment_id) for c in open_to_try)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), CHANCE)
def test_the_probability_of_each_is_its_share_of_the_weights(
    weights: list[int], chance: float
) -> None:
    candidates = [Candidate(str(n), weight=weight) for n, weight in enumerate(weights)]
    chosen = next_candidate(candidates, tried=(), usable=lambda _: True, chance=chance)
    assert chosen is not None
    place = int(chosen.deployment_id)
    below, above = sum(weights[:place]), sum(weights[: place + 1])
    assert below <= chance * sum(weights) * (1 + 1e-12)
    assert chance * sum(weights) <= above


def test_evenly_spread_draws_give_exact_shares() -> None:
    candidates = [Candidate("a", weight=1), Candidate("b", weight=3)]
    counts = {"a": 0, "b": 0}
    for place in range(100):
        chosen = next_candidate(candidates, tried=(), usable=among("ab"), chance=place / 100)
        assert chosen is not None
        counts[chosen.deployment_id] += 1
    assert counts == {"a": 25, "b": 75}


@given(st.integers(1, 40), CHANCE)
def test_a_pause_stays_below_its_ceiling(attempt: int, chance: float) -> None:
    pause_s = backoff_s(attempt, chance)
    assert 0 <= pause_s <= min(4.0, 0.25 * 2 ** (attempt - 1))


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.125), (2, 0.25), (3, 0.5), (4, 1), (5, 2), (6, 2)]
)
def test_ceilings_double_up_to_four_seconds(attempt: int, seconds: float) -> None:
    assert backoff_s(attempt, 0.5) == seconds
