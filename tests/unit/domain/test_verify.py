"""The proof of the ledger finds every amount that differs, by a single nano-USD too."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.verify import Difference, verify

USERS = st.sampled_from(["a", "b", "c"])
PERIODS = st.sampled_from([("total", "2026-11", "2026-W48"), ("total", "2026-12", "2026-W49")])
# (user, cost, periods); a correction is negative.
ENTRIES = st.lists(st.tuples(USERS, st.integers(-(2**60), 2**60), PERIODS), max_size=12)
Entry = tuple[str, int, tuple[str, ...]]


def totals_of(entries: list[Entry]) -> dict[str, dict[str, int]]:
    """As the ledger's store adds them up when nobody wrote past it."""
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for user_id, cost_nusd, periods in entries:
        kinds = [f"{kind}:{period}" for kind in ("entries", "period") for period in periods]
        for kind in ("account", "entries", "rollups", *kinds):
            sums[user_id][kind] += cost_nusd
    return {user_id: dict(row) for user_id, row in sums.items()}


@given(ENTRIES)
def test_an_honest_ledger_has_no_difference(entries: list[Entry]) -> None:
    verdict = verify(totals_of(entries))
    assert verdict.first_difference is None
    assert verdict.entries_nusd == sum(cost for _, cost, _ in entries)
    assert verdict.accounts == len({user_id for user_id, _, _ in entries})


@given(ENTRIES.filter(bool), st.data())
def test_any_amount_that_differs_is_found(entries: list[Entry], data: st.DataObject) -> None:
    totals = totals_of(entries)
    user_id = data.draw(st.sampled_from(sorted(totals)))
    kind = data.draw(st.sampled_from(sorted(totals[user_id])))
    totals[user_id][kind] += data.draw(st.integers(-5, 5).filter(bool))
    difference = verify(totals).first_difference
    assert difference is not None
    assert difference.user_id == user_id
    assert difference.expected_nusd != difference.found_nusd


@given(ENTRIES.filter(bool), st.data())
def test_any_sum_that_is_missing_is_found_where_it_mattered(
    entries: list[Entry], data: st.DataObject
) -> None:
    totals = totals_of(entries)
    user_id = data.draw(st.sampled_from(sorted(totals)))
    kind = data.draw(st.sampled_from(sorted(totals[user_id])))
    gone = totals[user_id].pop(kind)
    difference = verify(totals).first_difference
    # A sum of nothing may be absent, but an account may not.
    assert (difference is not None) == (gone != 0 or kind == "account")


def test_accounts_without_entries_have_spent_nothing() -> None:
    assert verify({}).first_difference is None
    assert verify({"a": {"account": 0}}).first_difference is None
    assert verify({"a": {"account": 1}}).first_difference == Difference(
        user_id="a", where="account", expected_nusd=0, found_nusd=1
    )


def test_the_first_difference_is_that_of_the_first_account() -> None:
    difference = verify({"b": {"account": 1}, "a": {"account": 2}}).first_difference
    assert difference is not None
    assert difference.user_id == "a"


def test_an_entry_that_counts_in_no_period_is_found() -> None:
    totals = {"a": {"account": 1, "entries": 1, "rollups": 1}}
    assert verify(totals).first_difference == Difference(
        user_id="a", where="period:total", expected_nusd=1, found_nusd=0
    )
