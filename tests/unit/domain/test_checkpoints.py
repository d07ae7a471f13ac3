"""The proof of the ledger finds every amount that differs, by a single nano-USD too."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from libs.common.domain.checkpoints import (
    AccountSums,
    Checkpoint,
    Difference,
    EntrySums,
    advance,
    compare,
    days_in,
    is_due_in_full,
)

PERIODS = st.sampled_from(
    [
        ("total", "2026-11", "2026-W48", "2026-11-24"),
        ("total", "2026-12", "2026-W49", "2026-12-01"),
    ]
)
# (cost, periods); a correction is negative.
Entry = tuple[int, tuple[str, ...]]
ENTRIES = st.lists(st.tuples(st.integers(-(2**60), 2**60), PERIODS), max_size=12)
START = Checkpoint(user_id="a")


def by_period(entries: Sequence[Entry]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for nusd, periods in entries:
        for period in periods:
            sums[period] += nusd
    return dict(sums)


def sums_of(entries: Sequence[Entry], first: int = 1) -> EntrySums:
    """As the store adds up entries numbered from `first`."""
    return EntrySums(
        number=len(entries),
        seqs=sum(range(first, first + len(entries))),
        nusd=sum(nusd for nusd, _ in entries),
        periods=by_period(entries),
    )


def account_sums(entries: Sequence[Entry]) -> AccountSums:
    """As the account has them when nobody wrote past the ledger."""
    periods = by_period(entries)
    return AccountSums(
        entries=len(entries),
        nusd=sum(nusd for nusd, _ in entries),
        periods=periods,
        rollups={day: periods[day] for day in days_in(periods)},
    )


def proved(entries: Sequence[Entry]) -> Checkpoint:
    checkpoint = advance(START, sums_of(entries), len(entries))
    assert isinstance(checkpoint, Checkpoint)
    return checkpoint


@given(ENTRIES)
def test_an_honest_account_has_no_difference(entries: list[Entry]) -> None:
    assert list(compare(proved(entries), account_sums(entries))) == []


@given(ENTRIES, st.data())
def test_a_checkpoint_replaces_the_entries_before_it(
    entries: list[Entry], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    sums = sums_of(entries[cut:], first=cut + 1)
    assert advance(proved(entries[:cut]), sums, len(entries)) == proved(entries)


@given(ENTRIES.filter(bool), st.data())
def test_any_amount_that_differs_is_found(entries: list[Entry], data: st.DataObject) -> None:
    kept = account_sums(entries)
    off = data.draw(st.integers(-5, 5).filter(bool))
    field = data.draw(st.sampled_from(["nusd", "periods", "rollups"]))
    if field == "nusd":
        assert kept.nusd is not None
        changed: object = kept.nusd + off
    else:
        sums = dict(getattr(kept, field))
        key = data.draw(st.sampled_from(sorted(sums)))
        changed = sums | {key: sums[key] + off}
    tampered = msgspec.structs.replace(kept, **{field: changed})
    difference = next(compare(proved(entries), tampered))
    assert difference.found is not None
    assert difference.found - difference.expected == off


@given(ENTRIES.filter(bool), st.data())
def test_a_missing_or_duplicate_entry_is_found(entries: list[Entry], data: st.DataObject) -> None:
    honest = sums_of(entries)
    seq = data.draw(st.integers(1, len(entries)))
    fewer = msgspec.structs.replace(honest, number=honest.number - 1, seqs=honest.seqs - seq)
    assert advance(START, fewer, len(entries)) == Difference(
        user_id="a",
        where="entries",
        unit="entries",
        expected=len(entries),
        found=len(entries) - 1,
    )
    other = data.draw(st.integers(1, len(entries) + 1).filter(lambda number: number != seq))
    swapped = msgspec.structs.replace(honest, seqs=honest.seqs - seq + other)
    assert isinstance(advance(START, swapped, len(entries)), Difference)


def test_an_account_without_entries_has_spent_nothing() -> None:
    nothing = AccountSums(entries=0, nusd=0, periods={}, rollups={})
    assert list(compare(START, nothing)) == []
    difference = next(compare(START, msgspec.structs.replace(nothing, nusd=1)))
    assert difference == Difference(user_id="a", where="account", expected=0, found=1)


def test_a_missing_account_is_a_difference() -> None:
    gone = AccountSums(entries=0, nusd=None, periods={}, rollups={})
    assert next(compare(START, gone)).found is None


def test_sums_without_entries_are_found() -> None:
    entries = [(5, ("total", "2026-11", "2026-W48", "2026-11-24"))]
    kept = account_sums(entries)
    for field, key, where in (
        ("periods", "2025-01", "period:2025-01"),
        ("rollups", "2025-01-01", "rollups:2025-01-01"),
    ):
        sums = dict(getattr(kept, field)) | {key: 1}
        [difference] = compare(proved(entries), msgspec.structs.replace(kept, **{field: sums}))
        assert (difference.where, difference.expected, difference.found) == (where, 0, 1)


def test_an_entry_missing_from_a_period_is_found() -> None:
    lone = advance(START, EntrySums(number=1, seqs=1, nusd=1), 1)
    assert isinstance(lone, Checkpoint)
    kept = AccountSums(entries=1, nusd=1, periods={}, rollups={})
    assert next(compare(lone, kept)).where == "period:total"


DATES = st.integers(1_600_000_000, 2_200_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
PARTS_OF_TIME = st.floats(0, 1, exclude_max=True)


@settings(max_examples=50)
@given(st.text(max_size=5), DATES, st.integers(1, 90), PARTS_OF_TIME)
@example("a", datetime(2026, 11, 24, tzinfo=UTC), 7, 0)
def test_an_account_is_due_in_full_once_in_each_time(
    user_id: str, full_at: datetime, days: int, part: float
) -> None:
    interval = timedelta(days=days)
    due = [
        is_due_in_full(user_id, full_at, full_at + part * interval + n * interval / 4, interval)
        for n in range(4)
    ]
    assert not is_due_in_full(user_id, full_at, full_at, interval)
    assert is_due_in_full(user_id, full_at, full_at + interval, interval)
    # Once it is due, it stays so.
    assert due == sorted(due)
    assert due[-1] or part < 0.25
    # A proof that is said to be of the far future.
    assert is_due_in_full(user_id, full_at + 2 * interval, full_at, interval)


def test_each_day_has_its_share_of_the_accounts() -> None:
    now, week = datetime(2026, 11, 24, tzinfo=UTC), timedelta(days=7)
    for day in range(7):
        at = now + timedelta(days=day)
        due = sum(
            is_due_in_full(f"user-{n}", at, at + timedelta(days=1), week) for n in range(1_400)
        )
        assert 150 < due < 250
