"""A provider's answer costs what its page says, by the prices that come with the product."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from libs.common.domain.call_cost import cost_of_call
from libs.common.schemas.price import PriceVersion
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.formats import FORMATS
from tests.support.provider_costs import ProviderCost, provider_costs

_ROWS = provider_costs()
# A Tuesday noon, for prices that are the same at any time.
_NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def price_map() -> PriceMap:
    return PriceMap.open(None)


@pytest.mark.parametrize("row", _ROWS, ids=[row.name for row in _ROWS])
def test_an_answer_costs_what_its_providers_page_says(
    price_map: PriceMap, row: ProviderCost
) -> None:
    usage = FORMATS[row.format].usage_of_answer(json.dumps(row.answer).encode())
    assert usage is not None
    if row.region is not None:
        usage = msgspec.structs.replace(usage, inference_geo=row.region)

    def price_of(model: str | None) -> PriceVersion | None:
        found = price_map.find(row.provider, row.model if model is None else model)
        return None if found is None else found.price

    charged = cost_of_call(usage, row.model, price_of, Decimal(1), row.at or _NOON)

    assert charged.unpriced == ()
    assert Decimal(charged.cost.cost_nusd).scaleb(-9) == row.usd
    assert round(row.computed_usd() * 10**9) == row.usd * 10**9


def test_there_are_enough_of_them() -> None:
    assert len(_ROWS) >= 120
    assert len({row.provider for row in _ROWS}) >= 8
    assert len({row.name for row in _ROWS}) == len(_ROWS)
    assert all(row.page.startswith("https://") for row in _ROWS)
