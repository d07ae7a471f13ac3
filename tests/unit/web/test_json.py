"""JSON answers: amounts are plain numbers, and nothing else of an answer changes."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.money import nusd_to_usd
from libs.common.web.json import encode_json, json_response


@pytest.mark.parametrize(
    ("nusd", "written"),
    [
        (0, b"0"),
        (1, b"0.000000001"),
        (-1, b"-0.000000001"),
        (800, b"0.0000008"),
        (1_500, b"0.0000015"),
        (1_000_000_000, b"1"),
        (10**18, b"1000000000"),
    ],
)
def test_an_amount_is_a_plain_number(nusd: int, written: bytes) -> None:
    assert encode_json(nusd_to_usd(nusd)) == written
    assert encode_json([{"a": nusd_to_usd(nusd)}]) == b'[{"a":' + written + b"}]"
    assert json_response(nusd_to_usd(nusd)).body == written


def test_a_rate_may_have_an_exponent_either_way() -> None:
    assert encode_json([Decimal("1E+3"), Decimal("-2.50E-9")]) == b"[1000,-0.00000000250]"


def test_strings_are_unchanged() -> None:
    texts = ["1E-7", 'a "quoted" 1E-7', "back\\slash 1E+3 \\", "\\", "é 8E-7 \x01", ""]
    content = {"8E-7": texts, "at": datetime(2026, 1, 1, tzinfo=UTC), "amount": Decimal("8E-7")}
    encoded = encode_json(content)
    assert json.loads(encoded)["8E-7"] == texts
    as_text = msgspec.json.encode(content)
    assert encoded == as_text.replace(b'"amount":"8E-7"', b'"amount":0.0000008')


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('"\\E-+1.é{}[],: ') | st.characters(codec="utf-8"), max_size=20)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9, max_value=10**12, min_value=0)
    | st.sampled_from([Decimal("1E-9"), Decimal("8E-7"), Decimal("1E+5")]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@given(_values)
def test_any_content_is_equal_and_without_exponents(content: Any) -> None:
    encoded = encode_json(content)
    usual = msgspec.json.Encoder(decimal_format="number").encode(content)
    assert json.loads(encoded, parse_float=Decimal) == json.loads(usual, parse_float=Decimal)
    numbers: list[str] = []
    json.loads(encoded, parse_float=numbers.append)
    assert not [number for number in numbers if "E" in number]
