"""Numbers keep every digit, from the answer to what is printed."""

from decimal import Decimal

import pytest

from gatewayctl.errors import Misused
from gatewayctl.values import decode_json, encode_json, query_result, value_at, with_fields

ROWS = b'[{"usd":0.1,"n":1},{"usd":0.2,"n":2},{"usd":9007199254740993.000000001,"n":3}]'


def test_digits_stay() -> None:
    rows = decode_json(ROWS)
    assert encode_json(rows) == ROWS
    assert rows[0]["usd"] == Decimal("0.1")
    assert encode_json(decode_json("1e-9")) == b"1E-9"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum([:2].usd)", "0.3"),
        ("[2].usd", "9007199254740993.000000001"),
        ("max([].usd)", "9007199254740993.000000001"),
        ("[?usd > `0.1`].n | length(@)", "2"),
        ("sort_by(@, &usd)[0].n", "1"),
        ("[?missing == `null`] | length(@)", "3"),
    ],
)
def test_queries_compute_exactly(expression: str, expected: str) -> None:
    assert encode_json(query_result(decode_json(ROWS), expression)).decode() == expected


@pytest.mark.parametrize("expression", ["[", "sum('a')", "nothing(@)", "abs([0])"])
def test_a_wrong_query_is_the_callers_fault(expression: str) -> None:
    with pytest.raises(Misused, match="--query"):
        query_result(decode_json(ROWS), expression)


def test_fields_are_picked_at_any_depth() -> None:
    row = {"a": {"b": {"c": 1}}, "d": None}
    assert value_at(row, "a.b.c") == 1
    assert value_at(row, "a.x.c") is None
    assert with_fields(row, ["a.b.c", "d"]) == {"a.b.c": 1, "d": None}
    with pytest.raises(Misused, match="no field 'e'"):
        with_fields(row, ["e"])
