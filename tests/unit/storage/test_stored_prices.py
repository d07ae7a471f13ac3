"""Versions that earlier releases stored, in MongoDB and in the shared cache, are still prices."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.domain.pricing import cost_nusd
from libs.common.domain.tool_fees import fee_of
from libs.common.schemas.price import PriceVersion
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.mongo.driver import from_document

_AT = datetime(2026, 10, 1, tzinfo=UTC)
# As the release before fees by tool, hours and bases wrote one.
_RATES: dict[str, Any] = {"input": "3", "output": "15", "cache_write_5m": "3.75"}
_DOCUMENT: dict[str, Any] = {
    "_id": "price_1",
    "price_id": "price_1",
    "model": "gpt-4o",
    "provider": "openai",
    "aliases": ["omni"],
    "effective_from": _AT,
    "effective_until": None,
    "rates": _RATES,
    "tiers": [
        {
            "rates": {"input": "6", "output": "30"},
            "above_input_tokens": 0,
            "service_tier": "priority",
        }
    ],
    "web_search": "0.01",
    "web_search_per": "search",
    "surcharges": {"us": "1.1"},
    "multiplier": "1",
    "max_output_tokens": 16384,
    "source": "admin",
    "created_at": _AT,
}


def check(version: PriceVersion) -> None:
    assert version.tiers[0].hours == ()
    assert (version.tool_fees, version.basis) == ({}, "rates")
    assert fee_of(version, "web_search") == Decimal("0.01")
    million = 1_000_000
    assert cost_nusd(TokenUsage(input_text=million, service_tier="fast"), version) == 6 * 10**9
    # What was written for half an hour has been charged by this rate until now.
    assert cost_nusd(TokenUsage(cache_write_30m=million), version) == 3_750_000_000


def test_a_stored_document_is_a_price() -> None:
    check(from_document(_DOCUMENT, PriceVersion))


def test_a_cached_value_is_a_price() -> None:
    packed = msgspec.msgpack.encode([{k: v for k, v in _DOCUMENT.items() if k != "_id"}])
    [version] = msgspec.msgpack.decode(packed, type=tuple[PriceVersion, ...])
    check(version)
