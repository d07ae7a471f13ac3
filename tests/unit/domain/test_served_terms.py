"""Tiers with two names, hours of the day, regions, and what a price knows nothing of."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.pricing import cost_nusd, cost_of
from libs.common.domain.served_terms import rates_for, surcharges_for, tier_for
from libs.common.schemas.price import REGIONAL, Hours
from libs.common.schemas.usage import TokenUsage
from tests.unit.builders import price, rates, tier

_PRIORITY = tier(service_tier="priority", input="4", output="20")


@pytest.mark.parametrize("listed", ["priority", "fast"])
@pytest.mark.parametrize("served", ["priority", "fast"])
def test_fast_and_priority_are_one_tier(listed: str, served: str) -> None:
    """developers.openai.com, fast mode guide, October 2026. gpt-6-sol answers `fast`."""
    version = price(
        rates=rates(input="2", output="10"),
        tiers=(tier(service_tier=listed, input="4", output="20"),),
    )
    usage = TokenUsage(input_text=10_000, output_text=1_000, service_tier=served)
    # 10,000 x 4 + 1,000 x 20, per million.
    assert cost_nusd(usage, version) == 60_000_000


def test_a_tier_listed_under_both_names_is_taken_by_its_own() -> None:
    fast = tier(service_tier="fast", input="5", output="25")
    version = price(tiers=(_PRIORITY, fast))
    assert tier_for(version, TokenUsage(service_tier="fast")) == fast
    assert tier_for(version, TokenUsage(service_tier="priority")) == _PRIORITY


# DeepSeek's peak hours: 01-04 and 06-10 UTC, Monday to Friday, at twice the price of all others
# (api-docs.deepseek.com, pricing, 27 October 2026).
_OFF_PEAK = tier(
    input="0.15",
    output="0.60",
    cache_read="0.003",
    hours=(
        *(
            Hours(from_minute=start * 60, to_minute=end * 60, weekdays=(1, 2, 3, 4, 5))
            for start, end in ((0, 1), (4, 6), (10, 24))
        ),
        Hours(from_minute=0, to_minute=1440, weekdays=(6, 7)),
    ),
)
_FLASH = price(rates=rates(input="0.30", output="1.20", cache_read="0.006"), tiers=(_OFF_PEAK,))


@pytest.mark.parametrize(
    ("at", "usd"),
    [
        # Friday 02:00, and the edges of the hours: 1,000,000 x 0.30 + 1,000 x 1.20.
        ("2026-11-27T02:00:00", "0.3012"),
        ("2026-11-27T01:00:00", "0.3012"),
        ("2026-11-27T03:59:59", "0.3012"),
        ("2026-11-27T06:00:00", "0.3012"),
        ("2026-11-27T09:59:59", "0.3012"),
        # Half of it.
        ("2026-11-27T00:59:59", "0.1506"),
        ("2026-11-27T04:00:00", "0.1506"),
        ("2026-11-27T10:00:00", "0.1506"),
        ("2026-11-27T23:59:59", "0.1506"),
        ("2026-11-28T22:24:00", "0.1506"),
        ("2026-11-29T02:00:00", "0.1506"),
    ],
)
def test_the_hour_in_which_a_call_began_decides(at: str, usd: str) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    usage = TokenUsage(input_text=1_000_000, output_text=1_000)
    elsewhere = moment.astimezone(timezone(timedelta(hours=8)))
    for start in (moment, elsewhere):
        cost = cost_of(usage, _FLASH, at=start)
        assert cost.cost_nusd == Decimal(usd) * 10**9
        assert cost.notes == ()


def test_without_a_moment_no_hours_apply() -> None:
    assert rates_for(_FLASH, TokenUsage()) == _FLASH.rates


def test_hours_apply_within_a_service_tier_and_a_threshold() -> None:
    night = (Hours(from_minute=0, to_minute=60),)
    long = tier(above=1_000, input="6")
    long_night = tier(above=1_000, input="5", hours=night)
    flex_night = tier(service_tier="flex", input="1", hours=night)
    version = price(tiers=(long, long_night, flex_night))
    at = datetime(2026, 11, 27, 0, 30, tzinfo=UTC)
    noon = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
    assert rates_for(version, TokenUsage(input_text=1_001), at).input == 5
    assert rates_for(version, TokenUsage(input_text=1_001), noon).input == 6
    assert rates_for(version, TokenUsage(input_text=1, service_tier="flex"), at).input == 1
    assert rates_for(version, TokenUsage(input_text=1, service_tier="flex"), noon).input == 3


@pytest.mark.parametrize(
    ("region", "names"),
    [
        (None, []),
        ("global", []),
        ("not_available", []),
        ("us", ["us"]),
        ("us-east5", ["regional"]),
        ("eu", ["regional"]),
    ],
)
def test_a_region_without_a_factor_of_its_own_has_that_of_any_region(
    region: str | None, names: list[str]
) -> None:
    factors = {"us": Decimal("1.2"), REGIONAL: Decimal("1.1")}
    usage = TokenUsage(inference_geo=region)
    assert list(surcharges_for(price(surcharges=factors), usage)) == names


@pytest.mark.parametrize(
    ("served", "notes"),
    [
        ({}, ()),
        ({"service_tier": "default", "speed": "standard", "inference_geo": "global"}, ()),
        ({"service_tier": "fast", "speed": "fast", "inference_geo": "US"}, ()),
        ({"service_tier": "on_demand"}, ()),
        ({"service_tier": "turbo"}, ("service_tier_unknown",)),
        ({"service_tier": "flex"}, ("service_tier_unknown",)),
        ({"speed": "ludicrous"}, ("speed_unknown",)),
        ({"inference_geo": "eu"}, ("region_unknown",)),
    ],
)
def test_terms_missing_from_the_price_mark_the_cost(
    served: dict[str, Any], notes: tuple[str, ...]
) -> None:
    version = price(tiers=(_PRIORITY,), surcharges={"fast": Decimal(2), "us": Decimal("1.1")})
    assert cost_of(TokenUsage(input_text=1, **served), version).notes == notes


@pytest.mark.parametrize(
    ("card", "rate", "notes"),
    [
        # developers.openai.com, gpt-6.2-sol, November 2026: 2.50 for 30 minutes, 5.00 for 12 hours.
        ({"cache_write_30m": "2.5", "cache_write_12h": "5"}, ("2.5", "5"), ()),
        ({"cache_write_30m": "2.5"}, ("2.5", "2.5"), ("cache_write_rate_missing",)),
        ({"cache_write_5m": "2.4"}, ("2.4", "2.4"), ("cache_write_rate_missing",)),
        ({}, ("2", "2"), ()),
    ],
)
def test_openais_cache_writes_have_rates_of_their_own(
    card: dict[str, str], rate: tuple[str, str], notes: tuple[str, ...]
) -> None:
    version = price(rates=rates(input="2", output="10", **card))
    usage = TokenUsage(cache_write_30m=1_000_000, cache_write_12h=1_000_000)
    cost = cost_of(usage, version)
    assert [line.rate for line in cost.lines] == [Decimal(text) for text in rate]
    assert cost.notes == notes


def test_citations_have_a_rate_of_their_own() -> None:
    """docs.perplexity.ai, sonar-deep-research: 2 / 8, citations 2, reasoning 3, searches 0.005.

    19 x 2 + 498 x 8 + 10,175 x 2 + 95,305 x 3 millionths, and 48 x 0.005.
    """
    version = price(
        rates=rates(input="2", output="8", citation="2", reasoning="3"),
        web_search=Decimal("0.005"),
    )
    usage = TokenUsage(
        input_text=19, output_text=498, citation=10_175, reasoning=95_305, web_searches=48
    )
    assert cost_nusd(usage, version) == 550_287_000
