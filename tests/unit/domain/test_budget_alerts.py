"""When operators are told of a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.budget_alerts import Threshold, is_exhausted, thresholds_reached
from libs.common.schemas.account import Budget


@given(
    limit=st.integers(1, 2**53 - 1),
    percents=st.lists(st.integers(1, 100), max_size=10, unique=True),
    spent=st.integers(0, 2**54),
)
def test_a_percentage_is_reached_exactly(limit: int, percents: list[int], spent: int) -> None:
    budget = Budget(limit_nusd=limit, period="daily", alert_percents=tuple(percents))
    reached = list(thresholds_reached(budget, spent))
    assert [row.percent for row in reached] == sorted(
        percent for percent in percents if spent * 100 >= limit * percent
    )
    assert all(row.nusd <= spent for row in reached)


def test_a_soft_limit_is_a_threshold_without_a_percentage() -> None:
    budget = Budget(limit_nusd=10, period="daily", soft_limit_nusd=5, alert_percents=(50, 80))
    assert list(thresholds_reached(budget, 4)) == []
    assert list(thresholds_reached(budget, 5)) == [Threshold(5, 50), Threshold(5, None)]


@pytest.mark.parametrize(
    ("limit", "spent", "refused", "exhausted"),
    [
        (100, 99, False, False),
        (100, 100, False, True),
        (100, 89, True, False),
        (100, 90, True, True),
        (0, 0, True, False),
        (0, 5, False, False),
    ],
)
def test_exhausted(limit: int, spent: int, *, refused: bool, exhausted: bool) -> None:
    budget = Budget(limit_nusd=limit, period="total", soft_limit_nusd=0, alert_percents=(1,))
    assert is_exhausted(budget, spent, refused=refused) is exhausted
    if limit == 0:
        assert list(thresholds_reached(budget, spent)) == []
