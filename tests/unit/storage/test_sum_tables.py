"""Tables are what was added up, whatever the numbers, and in few bytes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.storage.mongo.sum_tables import FieldColumn, Tally, TooManyGroups, decoded_table

FIELDS = ("user_id", "model", "status")
VALUES = st.sampled_from(["", "a", "b", "\u00e9\n", "c" * 300])
SUMS = st.dictionaries(
    st.sampled_from(["cost_nusd", "calls", "tokens.input_text"]),
    st.one_of(st.integers(-200, 200), st.integers(-(2**40), 2**40), st.integers(-(2**70), 2**70)),
)
ROWS = st.lists(st.tuples(st.tuples(VALUES, VALUES, st.sampled_from(["", "ok", "no"])), SUMS))


Rows = Sequence[tuple[tuple[str, ...], dict[str, int]]]


def table_of(rows: Rows) -> Tally:
    tally = Tally(FIELDS)
    for group, sums in rows:
        tally.add_row(group, sums)
    return tally


def plain(tally: Tally) -> dict[tuple[str, ...], dict[str, int]]:
    return {
        group: {name: n for name, n in sums.items() if n}
        for group, sums in tally.dearest(len(tally)).groups
    }


@given(parts=st.lists(ROWS, max_size=4), names=st.permutations(FIELDS), limit=st.integers(0, 9))
def test_a_tally_is_the_sums_of_the_rows(parts: list[Rows], names: list[str], limit: int) -> None:
    by = names[:2]
    tally = Tally(by)
    expected: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for rows in parts:
        tally.add(decoded_table(table_of(rows).table().encoded()))
        for group, sums in rows:
            row = dict(zip(FIELDS, group, strict=True))
            counter = expected[tuple(row[name] for name in by)]
            counter.update(sums)
            if "status" not in by and row["status"]:
                counter[f"status.{row['status']}"] += sums.get("calls", 0)
    order = sorted(expected, key=lambda group: (-expected[group]["cost_nusd"], group))
    dearest = tally.dearest(limit)
    groups = dearest.groups
    total: Counter[str] = Counter()
    for group in order:
        total.update(expected[group])
    assert Counter(dearest.total) == total
    assert [group for group, _ in groups] == order[:limit]
    for group, sums in groups:
        assert Counter(sums) == expected[group]
    few = {group for group in order if len(group[0]) < 2}
    assert [group for group, _ in tally.dearest(99, few).groups] == [g for g in order if g in few]


@given(rows=ROWS)
def test_a_table_is_as_it_was_when_decoded(
    rows: Rows,
) -> None:
    tally = table_of(rows)
    decoded = Tally(FIELDS)
    decoded.add(decoded_table(tally.table().encoded()))
    assert plain(decoded) == plain(tally)


def test_rows_that_are_left_out_make_no_group() -> None:
    table = table_of([(("a", "m", "ok"), {"calls": 1}), (("b", "m", "ok"), {"calls": 2})]).table()
    tally = Tally(("user_id", "day"))
    tally.add(table, rows=[1], fields={"day": FieldColumn(["2026-11-29"], bytes(2))})
    assert tally.dearest(9).groups == [
        (("b", "2026-11-29"), {"cost_nusd": 0, "calls": 2, "status.ok": 2})
    ]
    tally.add(table, rows=[])
    assert len(tally) == 1


def test_a_tally_without_fields_has_at_most_one_row() -> None:
    table = table_of([(("a", "m", "ok"), {"cost_nusd": 3}), (("b", "", ""), {"cost_nusd": 4})])
    tally = Tally(())
    assert tally.dearest(1).groups == []
    tally.add(table.table())
    assert plain(tally) == {(): {"cost_nusd": 7}}


@pytest.mark.parametrize("limit", [1, 7, 99])
def test_sparse_sums_are_added_to_their_groups(limit: int) -> None:
    """Whether some groups are wanted or all, and beside sums that each row has."""
    few = {3: 5, 17: -7, 38: 127, 39: -128}
    tally = Tally(("user_id",))
    for _ in range(2):
        rows = [
            (
                (f"u{n % 7}", f"m{n}", ""),
                {"cost_nusd": 100 - n, "calls": 1, "corrections": few.get(n, 0)},
            )
            for n in range(40)
        ]
        tally.add(table_of(rows).table())
    expected = [
        2 * sum(number for n, number in few.items() if n % 7 == account) for account in range(7)
    ]
    dearest = tally.dearest(limit)
    assert [sums["corrections"] for _, sums in dearest.groups] == expected[:limit]
    assert (dearest.total["corrections"], dearest.total["calls"]) == (-6, 80)


def test_groups_are_bounded() -> None:
    table = table_of([((f"{n}", "", ""), {}) for n in range(4)]).table()
    Tally(("user_id",), most=4).add(table)
    with pytest.raises(TooManyGroups):
        Tally(("user_id",), most=3).add(table)


def test_a_thousand_accounts_take_some_tens_of_kilobytes() -> None:
    rows = [
        ((f"customer-{n}", "gpt-5.4", "ok"), {"cost_nusd": 10**9 + n, "calls": n % 9})
        for n in range(1000)
    ]
    assert len(table_of(rows).table().encoded()) < 30_000


def test_a_column_of_another_length_is_refused() -> None:
    data = table_of([(("a", "m", "ok"), {"calls": 300})]).table().encoded()
    with pytest.raises(ValueError, match="numbers of 1 rows"):
        decoded_table(data.replace(b"\xa1h\xc4\x02", b"\xa1b\xc4\x02")).sum("calls")
