"""Decides when operators are alerted about a budget.

Invariants: a threshold that is reached stays reached while spend does not fall; a budget of 0,
which blocks on purpose, is not news.
"""

from collections.abc import Iterator

import msgspec

from libs.common.schemas.account import Budget

# A call may be refused although the limit is not spent, because its hold does not fit. Below this
# share the call was too large, or others held the rest: that budget is not exhausted.
_NEARLY_SPENT_PERCENT = 90


class Threshold(msgspec.Struct, frozen=True):
    """`percent` None is the soft limit."""

    nusd: int
    percent: int | None


def thresholds_reached(budget: Budget, spent_nusd: int) -> Iterator[Threshold]:
    """In ascending order of amounts; of one amount by percent, and the soft limit last."""
    if budget.limit_nusd == 0:
        return
    rows = [
        # Rounded up: it is reached at the first whole nano-USD that makes the percentage.
        Threshold(-(-budget.limit_nusd * percent // 100), percent)
        for percent in budget.alert_percents
    ]
    if budget.soft_limit_nusd is not None:
        rows.append(Threshold(budget.soft_limit_nusd, None))
    yield from sorted(
        (row for row in rows if spent_nusd >= row.nusd),
        key=lambda row: (row.nusd, row.percent is None, row.percent or 0),
    )


def is_exhausted(budget: Budget, spent_nusd: int, *, refused: bool) -> bool:
    """`refused`: a call was refused for lack of room in a budget."""
    if budget.limit_nusd == 0:
        return False
    if spent_nusd >= budget.limit_nusd:
        return True
    return refused and spent_nusd * 100 >= budget.limit_nusd * _NEARLY_SPENT_PERCENT
