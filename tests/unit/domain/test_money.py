from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.money import nusd_to_usd, plain_amount, round_to_nusd, usd_text, usd_to_nusd


@pytest.mark.parametrize(
    ("usd", "nusd"),
    [
        ("0", 0),
        ("-0", 0),
        ("0E+999999", 0),
        ("1", 1_000_000_000),
        ("1.0000000000000", 1_000_000_000),
        ("0.000000001", 1),
        ("1E-9", 1),
        ("-2.5", -2_500_000_000),
        ("9007199.254740991", 2**53 - 1),
        ("1E+20", 10**29),
    ],
)
def test_usd_become_whole_nano_usd(usd: str, nusd: int) -> None:
    assert usd_to_nusd(Decimal(usd)) == nusd


@pytest.mark.parametrize("usd", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_non_number_is_rejected(usd: str) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        usd_to_nusd(Decimal(usd))


@pytest.mark.parametrize(
    "usd", ["0.0000000001", "1.0000000005", "1E-10", "1E-999999", "1." + "1" * 100]
)
def test_fractions_of_a_nano_usd_are_rejected(usd: str) -> None:
    with pytest.raises(ValueError, match="at most 9 decimals"):
        usd_to_nusd(Decimal(usd))


@pytest.mark.parametrize("usd", ["1E+21", "1E+900000", "-1E+999999"])
def test_an_absurd_amount_is_rejected_cheaply(usd: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        usd_to_nusd(Decimal(usd))


@given(st.integers(-(10**29), 10**29))
def test_every_amount_survives_the_round_trip(nusd: int) -> None:
    assert usd_to_nusd(nusd_to_usd(nusd)) == nusd


@given(st.decimals(-(10**9), 10**9, places=9, allow_nan=False))
def test_every_exact_amount_in_usd_survives_the_round_trip(usd: Decimal) -> None:
    assert nusd_to_usd(usd_to_nusd(usd)) == usd


@given(st.decimals(-(10**9), 10**9, places=14, allow_nan=False))
def test_a_conversion_is_exact_or_rejected(usd: Decimal) -> None:
    try:
        nusd = usd_to_nusd(usd)
    except ValueError:
        assert usd != usd.quantize(Decimal("1E-9"))
    else:
        assert Decimal(nusd) == usd * 10**9


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0", "0"),
        ("0.000", "0"),
        ("0E+3", "0"),
        ("2.50", "2.5"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("5.0E+3", "5000"),
        ("0.000001", "0.000001"),
        ("-1.10", "-1.1"),
    ],
)
def test_amounts_are_written_plainly(amount: str, written: str) -> None:
    assert str(plain_amount(Decimal(amount))) == written


@given(st.decimals(-(10**12), 10**12, places=20, allow_nan=False))
def test_writing_an_amount_plainly_does_not_change_it(amount: Decimal) -> None:
    assert plain_amount(amount) == amount


@pytest.mark.parametrize(
    ("usd", "nusd"),
    [
        ("0.0000000005", 0),
        ("0.00000000050000000001", 1),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.0000000035", 4),
        ("-0.0000000005", 0),
        ("-0.0000000015", -2),
        ("-0.0000000025", -2),
        ("0.00000000149999999999", 1),
        ("12.5", 12_500_000_000),
    ],
)
def test_halves_are_rounded_to_even(usd: str, nusd: int) -> None:
    assert round_to_nusd(Decimal(usd)) == nusd


@given(st.decimals(-(10**9), 10**9, places=15, allow_nan=False))
def test_rounding_moves_an_amount_by_half_a_nano_usd_at_most(usd: Decimal) -> None:
    assert abs(Decimal(round_to_nusd(usd)) - usd * 10**9) <= Decimal("0.5")


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-2_500_000_000, "-2.5"),
        (10_000_000_000, "10"),
        (2**53 - 1, "9007199.254740991"),
    ],
)
def test_an_amount_is_written_out(nusd: int, text: str) -> None:
    assert usd_text(nusd) == text


@given(st.integers(-(10**29), 10**29))
def test_the_written_amount_is_exact(nusd: int) -> None:
    assert usd_text(nusd) == f"{nusd_to_usd(nusd):f}"
