"""A second opinion: genai-prices, on the models that both it and litellm's map know."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from genai_prices import Usage, calc_price

from libs.common.domain.pricing import cost_nusd
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.prices.price_map import MapModel, PriceMap
from services.admin.genai_prices import PROVIDERS as _PROVIDERS
from tests.parity.other_prices import OTHER_PRICES, Part

# A weekday's hour without off-peak rates.
_AT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
_USAGES: dict[Part, tuple[TokenUsage, Usage]] = {
    "text": (
        TokenUsage(input_text=10_000, output_text=500),
        Usage(input_tokens=10_000, output_tokens=500),
    ),
    "read": (
        TokenUsage(input_text=6_000, cache_read=4_000, output_text=500),
        Usage(input_tokens=10_000, cache_read_tokens=4_000, output_tokens=500),
    ),
    "write": (
        TokenUsage(input_text=6_000, cache_read=2_000, cache_write_5m=2_000, output_text=500),
        Usage(
            input_tokens=10_000,
            cache_read_tokens=2_000,
            cache_write_tokens=2_000,
            output_tokens=500,
        ),
    ),
    "long": (
        TokenUsage(input_text=300_000, output_text=500),
        Usage(input_tokens=300_000, output_tokens=500),
    ),
}


def theirs(model: MapModel, usage: Usage) -> Decimal | None:
    """Nano-USD, not rounded; None where the model is not known."""
    name = model.price.model.removeprefix(f"{model.provider}/")
    try:
        price = calc_price(
            usage, name, provider_id=_PROVIDERS[model.provider], genai_request_timestamp=_AT
        )
    except LookupError:
        return None
    return price.total_price * 10**9


def differing() -> Iterator[tuple[str, set[Part]]]:
    """Each model that both know, with the parts whose cost is not the same."""
    price_map = PriceMap.open(None)
    for name in price_map.names():
        model = price_map.get(name)
        if model is None or model.provider not in _PROVIDERS:
            continue
        if model.mode not in ("chat", "responses") or theirs(model, Usage()) is None:
            continue
        parts: set[Part] = set()
        for part, (ours, usage) in _USAGES.items():
            their_nusd = theirs(model, usage)
            assert their_nusd is not None
            if abs(cost_nusd(ours, model.price) - their_nusd) > 1:
                parts.add(part)
        yield name, parts


def test_models_both_know_cost_the_same_except_for_listed_differences() -> None:
    found = dict(differing())
    listed = {name: other.parts for other in OTHER_PRICES for name in other.names}
    assert len(found) > 400
    others = {
        # Where text differs, so may everything else.
        name: frozenset({"text"}) if "text" in parts else frozenset(parts)
        for name, parts in found.items()
        if parts
    }
    assert others == listed
