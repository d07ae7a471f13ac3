"""Where an address runs its models, and what a price is at a deployment."""

from decimal import Decimal

import msgspec
import pytest

from services.gateway.calls.target import Target
from services.gateway.directory.deployment_prices import DeploymentPrices
from services.gateway.directory.regions import region_of
from tests.unit.builders import price
from tests.unit.domain.test_holds import hold

_SURCHARGES = {
    "fast": Decimal(2),
    "us": Decimal("1.1"),
    "regional": Decimal("1.2"),
    "fedramp": Decimal("1.5"),
}
_PRICE = price(surcharges=_SURCHARGES, multiplier=Decimal(3))
_TARGET = Target(deployment_id="dep_1", provider="openai", model="gpt-4o")


@pytest.mark.parametrize(
    ("base_url", "region"),
    [
        ("https://eu.api.openai.com/v1", "eu"),
        ("https://us.api.openai.com", "us"),
        ("https://JP.api.openai.com:443/v1", "jp"),
        ("https://gov.api.openai.com/v1", "fedramp"),
        ("https://us.api.x.ai/v1", "us"),
        ("https://us-east-1.api.x.ai/v1", "us-east-1"),
        ("https://api.openai.com/v1", "global"),
        ("https://api.x.ai/v1", "global"),
        ("https://eu.api.openai.com.example.net/v1", None),
        ("https://eu.example.com/v1", None),
        ("not a url", None),
        (None, None),
    ],
)
def test_the_region_follows_from_the_address(base_url: str | None, region: str | None) -> None:
    assert region_of(base_url) == region


@pytest.mark.parametrize(
    ("region", "usd"),
    [
        # 18 USD three times, in the dearest region that may be chosen unasked.
        (None, 18 * 3 * 1.2),
        ("us", 18 * 3 * 1.1),
        ("jp", 18 * 3 * 1.2),
        ("fedramp", 18 * 3 * 1.5),
        ("global", 18 * 3),
    ],
)
def test_the_hold_depends_on_the_region(region: str | None, usd: float) -> None:
    target = msgspec.structs.replace(_TARGET, region=region)
    version = DeploymentPrices().price_at(target, _PRICE)
    assert hold(version) == round(usd * 10**9)
    assert hold(version, fast=True) == 2 * hold(version)


def test_a_multiplier_is_on_the_whole_price() -> None:
    target = msgspec.structs.replace(_TARGET, multiplier=Decimal("0.5"))
    assert DeploymentPrices().price_at(target, _PRICE).multiplier == Decimal("1.5")


def test_the_same_object_comes_again_until_price_or_deployment_changes() -> None:
    prices = DeploymentPrices()
    target = msgspec.structs.replace(_TARGET, multiplier=Decimal(2))
    first = prices.price_at(target, _PRICE)
    assert prices.price_at(target, _PRICE) is first
    dearer = msgspec.structs.replace(target, multiplier=Decimal(4))
    assert prices.price_at(dearer, _PRICE).multiplier == 12
    assert prices.price_at(target, price(multiplier=Decimal(5))).multiplier == 10
    assert prices.price_at(_TARGET, _PRICE) is _PRICE
