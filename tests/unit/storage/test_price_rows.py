from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.schemas.price import Rates
from tests.unit.storage.test_price_map import _ROW as ROW
from tests.unit.storage.test_price_map import map_of
from tests.unit.storage.test_price_map import rates_of as base_of


def tiers_of(row: dict[str, Any], *, provider: str = "acme") -> dict[tuple[str | None, int], Rates]:
    model = map_of(model=row | {"litellm_provider": provider}).get("model")
    assert model is not None
    return {(t.service_tier, t.above_input_tokens): t.rates for t in model.price.tiers}


def test_a_batch_costs_half_where_its_rates_are_not_given() -> None:
    row = ROW | {
        "cache_read_input_token_cost": 3e-07,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
        "output_cost_per_token_batches": 7e-06,
    }
    halves = {"input": Decimal("1.5"), "cache_read": Decimal("0.15"), "cache_write_1h": Decimal(3)}
    assert tiers_of(row) == {("batch", 0): Rates(**halves, output=Decimal(7))}


def test_a_batch_with_a_rate_for_input_pays_the_standard_rate_for_the_cache() -> None:
    row = ROW | {
        "cache_read_input_token_cost": 3e-07,
        "cache_read_input_token_cost_above_200k_tokens": 6e-07,
        "input_cost_per_token_batches": 1e-06,
    }
    standard = Rates(input=Decimal(1), output=Decimal("7.5"), cache_read=Decimal("0.3"))
    tiers = tiers_of(row)
    assert tiers["batch", 0] == standard
    assert tiers["batch", 200_000] == msgspec.structs.replace(standard, cache_read=Decimal("0.6"))


def test_a_service_tier_with_a_rate_for_output_charges_reasoning_by_it() -> None:
    row = ROW | {
        "output_cost_per_reasoning_token": 2e-06,
        "output_cost_per_token_priority": 3e-05,
        "input_cost_per_token_flex": 1e-06,
    }
    rates = {tier: rates.reasoning for (tier, _), rates in tiers_of(row).items()}
    assert rates == {"priority": None, "flex": Decimal(2)}


def test_each_crossed_threshold_counts() -> None:
    row = ROW | {
        "output_cost_per_token_above_128k_tokens": 2e-05,
        "input_cost_per_token_above_1000_tokens": 4e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06,
    }
    rates = {above: (rates.input, rates.output) for (_, above), rates in tiers_of(row).items()}
    expected = {1_000: ("4", "15"), 128_000: ("4", "20"), 200_000: ("6", "20")}
    assert rates == {at: (Decimal(i), Decimal(o)) for at, (i, o) in expected.items()}


def test_xai_charges_the_higher_rates_from_the_threshold_on() -> None:
    row = ROW | {"input_cost_per_token_above_200k_tokens": 6e-06}
    assert (None, 199_999) in tiers_of(row, provider="xai")


def test_priority_costs_twice_at_xai() -> None:
    row = ROW | {
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "cache_read_input_token_cost": 1e-06,
    }
    tiers = tiers_of(row, provider="xai")
    doubled = Rates(input=Decimal(6), output=Decimal(30), cache_read=Decimal(2))
    assert tiers["priority", 0] == doubled
    assert tiers["priority", 199_999] == msgspec.structs.replace(doubled, input=Decimal(12))
    own_tiers = tiers_of(row | {"input_cost_per_token_priority": 4e-06}, provider="xai")
    assert own_tiers["priority", 0].input == 4


def test_fireworks_charges_half_for_cached_tokens() -> None:
    model = map_of(model=ROW | {"litellm_provider": "fireworks_ai"}).get("model")
    assert model is not None
    assert model.price.rates.cache_read == Decimal("1.5")


_BANDS = [
    {"range": [32e3, 128e3], "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06},
    {"range": [0, 32e3], "input_cost_per_token": 1e-06, "cache_read_input_token_cost": 1e-07},
]


def test_bands_of_input_are_tiers() -> None:
    row = {name: value for name, value in ROW.items() if name != "input_cost_per_token"}
    row |= {"tiered_pricing": _BANDS, "cache_read_input_token_cost": 5e-07}
    # A band is a whole set of rates; only output falls back on the row's.
    first = Rates(input=Decimal(1), output=Decimal(15), cache_read=Decimal("0.1"))
    assert base_of(row) == first
    assert tiers_of(row) == {(None, 32_000): Rates(input=Decimal(2), output=Decimal(4))}


@pytest.mark.parametrize("bands", [[{"input_cost_per_query": 1}], [{"range": [0]}], {}, ["x"]])
def test_invalid_bands_leave_the_model_unpriced(bands: object) -> None:
    assert map_of(odd=ROW | {"tiered_pricing": bands}).get("odd") is None


def surcharges_of(entry: Any, *, provider: str = "anthropic") -> dict[str, Decimal] | None:
    row = ROW | {"litellm_provider": provider, "provider_specific_entry": entry}
    model = map_of(model=row).get("model")
    return None if model is None else model.price.surcharges


def test_factors_for_how_a_call_is_served_are_surcharges() -> None:
    assert surcharges_of({"us": 1.1, "fast": 2.0}) == {"us": Decimal("1.1"), "fast": Decimal(2)}
    assert surcharges_of({}) == surcharges_of(None) == {}


def test_other_provider_entries_are_not_surcharges() -> None:
    assert surcharges_of({"schema": "v2", "us": 1.1, "sizes": {"a": 5}, "x": None}) == {
        "us": Decimal("1.1")
    }
    assert surcharges_of({"free_input_images": 5}, provider="minimax") == {}


@pytest.mark.parametrize("factor", [-1, 1_001, 1.0000001])
def test_an_invalid_factor_leaves_the_model_unpriced(factor: float) -> None:
    assert surcharges_of({"us": factor}) is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"regional_processing_uplift_multiplier_eu": 1.1},
            {"regional": Decimal("1.1")},
        ),
        (
            {
                "regional_processing_uplift_multiplier_eu": 1.2,
                "regional_processing_uplift_multiplier_us": 1.1,
            },
            {"regional": Decimal("1.2"), "eu": Decimal("1.2"), "us": Decimal("1.1")},
        ),
        (
            {"regional_endpoint_uplift_multiplier": 1.1, "fedramp_uplift_multiplier": 1.3},
            {"regional": Decimal("1.1"), "fedramp": Decimal("1.3")},
        ),
        ({"regional_endpoint_uplift_multiplier": None}, {}),
    ],
)
def test_regions_that_cost_more_are_surcharges(
    keys: dict[str, Any], expected: dict[str, Decimal]
) -> None:
    model = map_of(model=ROW | keys).get("model")
    assert model is not None
    assert model.price.surcharges == expected


def test_one_provider_has_a_factor_that_the_map_lacks() -> None:
    model = map_of(model=ROW | {"litellm_provider": "xai"}).get("model")
    assert model is not None
    assert model.price.surcharges == {"us": Decimal("1.1")}


def test_openais_cache_writes_are_those_of_half_an_hour() -> None:
    row = ROW | {
        "cache_creation_input_token_cost": 2.5e-06,
        "cache_creation_input_token_cost_above_12hr": 5e-06,
        "cache_creation_input_token_cost_above_12hr_above_272k_tokens_flex": 4e-06,
    }
    model = map_of(**{"gpt-9": row | {"litellm_provider": "azure"}}).get("gpt-9")
    assert model is not None
    writes = {"cache_write_30m": Decimal("2.5"), "cache_write_12h": Decimal(5)}
    assert model.price.rates == Rates(input=Decimal(3), output=Decimal(15), **writes)
    [flex] = [t for t in model.price.tiers if t.service_tier == "flex" and t.above_input_tokens]
    assert flex.rates.cache_write_12h == 4
    assert flex.rates.cache_write_30m == Decimal("2.5")
    assert base_of(row).cache_write_5m == Decimal("2.5")


_CARD = {"input_cost_per_token": 1e-06}


def hours_of(**card: Any) -> dict[tuple[int, int], tuple[int, ...]]:
    """Weekdays by the minutes of the day."""
    model = map_of(model=ROW | {"off_peak_pricing": _CARD | card}).get("model")
    assert model is not None
    [off_peak] = model.price.tiers
    assert off_peak.rates == Rates(input=Decimal(1), output=Decimal(15))
    return {(each.from_minute, each.to_minute): each.weekdays for each in off_peak.hours}


_DAILY = (1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ({"hours_utc": "16:30-18:00"}, {(990, 1080): _DAILY}),
        ({"hours_utc": ["16:30-00:30"]}, {(990, 1440): _DAILY, (0, 30): _DAILY}),
        ({"windows": [{"hours_utc": "00:00-00:00", "weekdays": [6, 7]}]}, {(0, 1440): (6, 7)}),
        # At 16:00 UTC it is tomorrow in Shanghai.
        (
            {
                "weekday_timezone": "Asia/Shanghai",
                "windows": [{"hours_utc": "10:00-00:00", "weekdays": [1, 6]}],
            },
            {(600, 960): (1, 6), (960, 1440): (5, 7)},
        ),
    ],
)
def test_hours_with_rates_of_their_own_are_tiers(
    card: dict[str, Any], expected: dict[tuple[int, int], tuple[int, ...]]
) -> None:
    assert hours_of(**card) == expected


@pytest.mark.parametrize(
    "card",
    [
        {"hours_utc": "25:00-26:00"},
        {"hours_utc": "1:00-2:00"},
        {"hours_utc": "noon"},
        {"hours_utc": 5},
        {"hours_utc": ["00:00-01:00"] * 65},
        {"windows": [{"hours_utc": "00:00-01:00", "weekdays": [0]}]},
        {"hours_utc": "00:00-01:00", "weekday_timezone": "Mars/Olympus"},
        {"hours_utc": "00:00-01:00", "input_cost_per_token": -1},
    ],
)
def test_hours_that_cannot_be_read_leave_the_model_unpriced(card: dict[str, Any]) -> None:
    assert map_of(model=ROW | {"off_peak_pricing": _CARD | card}).get("model") is None


@pytest.mark.parametrize("card", [None, {}, {"hours_utc": "00:00-01:00"}])
def test_off_peak_hours_without_rates_make_no_tier(card: dict[str, Any] | None) -> None:
    assert tiers_of(ROW | {"off_peak_pricing": card}) == {}
