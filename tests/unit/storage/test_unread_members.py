"""What rows of the bundled map say of costs is read, or listed with a reason in docs/pricing.md."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.prices.price_rows import is_rate
from tests.parity.differences import DIFFERENCES
from tests.unit.storage.test_price_map import bundled_bytes

PRICING = (Path(__file__).parents[3] / "docs/pricing.md").read_text()
_COSTS = ("cost", "price", "pricing", "uplift", "multiplier", "fee")
_READ = frozenset(
    {
        "fedramp_uplift_multiplier",
        "google_maps_grounding_cost_per_query",
        "input_cost_per_request",
        "off_peak_pricing",
        "regional_endpoint_uplift_multiplier",
        "regional_processing_uplift_multiplier_eu",
        "regional_processing_uplift_multiplier_us",
        "search_context_cost_per_query",
        "tiered_pricing",
    }
)


def listed() -> set[str]:
    table = PRICING.partition("| members | why |")[2].partition("\n\n")[0]
    return {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }


@pytest.fixture(scope="module")
def members() -> set[str]:
    """Those that say what something costs, of rows that are priced."""
    rows = json.loads(bundled_bytes())
    price_map = PriceMap.open(None)
    return {
        name
        for model, row in rows.items()
        if price_map.get(model) is not None
        for name, value in row.items()
        if value and any(word in name for word in _COSTS)
    }


def test_each_is_read_or_listed(members: set[str]) -> None:
    unread = {name for name in members if not is_rate(name)} - _READ
    assert unread - {n for n in unread if any(fnmatchcase(n, p) for p in listed())} == set()


def test_nothing_is_listed_in_vain(members: set[str]) -> None:
    matched = {p for p in listed() if any(fnmatchcase(name, p) for name in members)}
    # The last is of models that talk over a socket, which are not served.
    assert listed() - matched == {"cache_creation_input_audio_token_cost*"}


def test_every_difference_from_litellm_is_explained() -> None:
    for difference in DIFFERENCES:
        assert f"| {difference.name} | {difference.reason} |" in PRICING
