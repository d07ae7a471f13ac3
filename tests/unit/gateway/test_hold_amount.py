"""What a call is held for does not depend on which calls came before."""

from decimal import Decimal
from itertools import product

import msgspec
import pytest

from libs.common.domain.holds import PLAIN_TEXT, BillableFeatures, hold_nusd
from libs.common.schemas.price import AT_COST, PriceVersion
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.admission import hold_amount as module
from services.gateway.admission.hold_amount import hold_amount
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.target import Target
from services.gateway.directory.deployment_prices import DeploymentPrices
from services.gateway.directory.regions import region_of
from services.gateway.formats.base import CallRequest
from tests.unit.builders import price, rates, tier

TIERED = price(
    provider="anthropic",
    rates=rates(
        input="3",
        output="15",
        cache_write_5m="7",
        cache_write_1h="8",
        input_audio="40",
        output_audio="80",
    ),
    surcharges={"fast": Decimal(6)},
    tiers=(
        tier(service_tier="priority", input="6", output="30"),
        tier(above=200, input="4", output="20"),
    ),
)


def held_nusd(
    version: PriceVersion,
    *,
    input_tokens: int = 100,
    service_tier: str | None = None,
    features: BillableFeatures = PLAIN_TEXT,
) -> int:
    request = CallRequest(
        model="m",
        stream=False,
        max_output_tokens=50,
        service_tier=service_tier,
        features=features,
        fields={},
    )
    priced = PricedRequest(request=request, prices={"d": version}, input_tokens=input_tokens)
    return hold_amount(priced, AT_COST, 4_096)


@pytest.mark.parametrize(
    "features",
    [
        PLAIN_TEXT,
        *(
            msgspec.structs.replace(PLAIN_TEXT, **{name: True})
            for name in BillableFeatures.__struct_fields__
            if name != "tools"
        ),
    ],
)
def test_kept_rates_are_those_of_the_request(features: BillableFeatures) -> None:
    tiers = (None, "default", "priority", "a client's own")
    for input_tokens, service_tier in product((100, 200, 201, 10_000), tiers):
        expected = hold_nusd(
            TIERED,
            input_tokens=input_tokens,
            output_tokens=50,
            service_tier=service_tier,
            features=features,
        )
        for _ in range(2):
            amount = held_nusd(
                TIERED, input_tokens=input_tokens, service_tier=service_tier, features=features
            )
            assert amount == expected, (input_tokens, service_tier)


def test_another_price_of_the_same_id_has_rates_of_its_own() -> None:
    assert held_nusd(TIERED) == 100 * 6_000 + 50 * 30_000
    dearer = msgspec.structs.replace(TIERED, rates=rates(input="9", output="45"))
    assert held_nusd(dearer) == 100 * 9_000 + 50 * 45_000
    assert held_nusd(TIERED) == 100 * 6_000 + 50 * 30_000


def test_kept_rates_are_bounded() -> None:
    for n in range(1_500):
        held_nusd(msgspec.structs.replace(TIERED, price_id=f"price-{n}"))
        held_nusd(TIERED, service_tier=f"tier-{n}")
    assert len(module._rates_cache) <= 1_000


@pytest.mark.parametrize("service_tier", [None, "auto", "priority", "fast", "turbo"])
def test_a_call_that_may_be_served_fast_is_held_for_at_that_price(
    service_tier: str | None,
) -> None:
    """gpt-5.5's fast mode is 12.50 / 75, developers.openai.com, pricing, 27 June 2026."""
    model = PriceMap.open(None).get("gpt-5.5")
    assert model is not None
    request = CallRequest(
        model="gpt-5.5",
        stream=False,
        max_output_tokens=10_000,
        service_tier=service_tier,
        fields={},
    )
    target = Target(
        deployment_id="d",
        provider="openai",
        model="gpt-5.5",
        region=region_of("https://api.openai.com/v1"),
    )
    deployment_price = DeploymentPrices().price_at(target, model.price)
    priced = PricedRequest(request=request, prices={"d": deployment_price}, input_tokens=48)
    # 48 x 12.50 and 10,000 x 75.
    assert hold_amount(priced, AT_COST, 4_096) == 750_600_000
