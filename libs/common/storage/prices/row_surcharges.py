"""The factors in a row of LiteLLM's price map on its rates, by how and where a call is served."""

from decimal import Decimal

import msgspec

from libs.common.schemas.price import FEDRAMP, REGIONAL
from libs.common.storage.prices.row_fields import Row, checked_factor, row_field

_ENTRY = "provider_specific_entry"
# Whose rows have factors there, among notes of other kinds.
_WITH_ENTRY = frozenset({"anthropic", "bedrock"})
# For any region, or for one of those that OpenAI has had the longest.
_ANY_REGION = "regional_endpoint_uplift_multiplier"
_OF_REGIONS = {
    "regional_processing_uplift_multiplier_eu": "eu",
    "regional_processing_uplift_multiplier_us": "us",
}
_FEDRAMP = "fedramp_uplift_multiplier"
# What the map lacks. xAI's endpoint in the US: docs.x.ai, pricing, September 2026.
_OF_PROVIDERS = {"xai": {"us": Decimal("1.1")}}


def read_surcharges(row: Row, provider: str) -> dict[str, Decimal]:
    """Raises WrongField where a factor is not one."""
    surcharges = dict(_OF_PROVIDERS.get(provider, {}))
    if provider in _WITH_ENTRY and _ENTRY in row:
        entry = row_field(row, _ENTRY, dict[str, msgspec.Raw] | None)
        for name, raw in (entry or {}).items():
            if bytes(raw)[:1] in b"-0123456789":
                entry_factor = msgspec.json.decode(raw, type=Decimal)
                surcharges[name] = checked_factor(f"{_ENTRY}.{name}", entry_factor)
    regions = {region: _factor(row, key) for key, region in _OF_REGIONS.items() if key in row}
    factors = [factor for factor in regions.values() if factor is not None]
    if factors:
        # OpenAI's other regions cost what these do; where they differ, each has its own.
        surcharges[REGIONAL] = max(factors)
        if len(set(factors)) > 1:
            surcharges |= {name: f for name, f in regions.items() if f is not None}
    for key, name in ((_ANY_REGION, REGIONAL), (_FEDRAMP, FEDRAMP)):
        factor = _factor(row, key) if key in row else None
        if factor is not None:
            surcharges[name] = factor
    return surcharges


def _factor(row: Row, key: str) -> Decimal | None:
    factor: Decimal | None = row_field(row, key, Decimal | None)
    return None if factor is None else checked_factor(key, factor)
