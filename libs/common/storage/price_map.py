"""LiteLLM's bundled price map, read as data: no import of litellm and no network.

The map says USD per token; keys carry suffixes for thresholds and service tiers, such as
`input_cost_per_token_above_200k_tokens_priority`.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from libs.common.domain.money import EXACT, plain
from libs.common.domain.pricing import model_names
from libs.common.schemas.price import PriceVersion, Rates, Tier

MAP_FILE = "model_prices_and_context_window_backup.json"
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_MILLION = Decimal(1_000_000)
_MAX_PER_TOKEN = Decimal(1_000)
_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
}
_KEY = re.compile(
    rf"^({'|'.join(sorted(_RATES, key=len, reverse=True))})"
    r"(?:_above_(\d+)k_tokens)?(?:_(flex|balanced|priority|ultrafast|batches))?$"
)
# Where the map's word for a service tier is not the one that providers report.
_SERVICE_TIERS = {"batches": "batch"}
_SERVED_MODES = frozenset({"chat", "responses", "embedding"})
_TOKEN_MODES = frozenset({"chat", "responses", "completion", "embedding"})


class _Header(msgspec.Struct):
    litellm_provider: str = ""
    mode: str | None = None
    max_output_tokens: int | None = None
    search_context_cost_per_query: dict[str, Decimal] | None = None


_decode_header = msgspec.json.Decoder(_Header).decode


class MapModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the map: who serves it and what it costs."""

    provider: str
    mode: str
    price: PriceVersion


class PriceMap:
    """Models by the map's own names; rows are decoded when they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._rows: dict[str, msgspec.Raw] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        self._digest = hashlib.sha256(data).hexdigest()[:8]

    @classmethod
    def open(cls, path: str | None) -> "PriceMap":
        """Reads `path`, or the map inside the installed litellm package; empty without either."""
        if path is not None:
            return cls(Path(path).read_bytes())
        spec = find_spec("litellm")
        if spec is None or spec.origin is None:
            return cls(b"{}")
        return cls((Path(spec.origin).parent / MAP_FILE).read_bytes())

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> Iterator[str]:
        return iter(self._rows)

    def providers(self) -> frozenset[str]:
        """Every provider that serves a model of the map."""
        return frozenset(header.litellm_provider for _, header in self._headers())

    def names_of(self, providers: Collection[str]) -> list[str]:
        """The models of those providers that the gateway has an endpoint for, sorted."""
        return sorted(
            name
            for name, header in self._headers()
            if header.litellm_provider in providers and header.mode in _SERVED_MODES
        )

    def _headers(self) -> Iterator[tuple[str, _Header]]:
        for name, raw in self._rows.items():
            try:
                yield name, _decode_header(raw)
            except msgspec.ValidationError:
                continue

    def get(self, name: str) -> MapModel | None:
        """None where the name is unknown, or is not a model that is billed by tokens."""
        raw = self._rows.get(name)
        if raw is None:
            return None
        try:
            header = _decode_header(raw)
            cards = _rate_cards(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
        except msgspec.ValidationError:
            return None
        base = cards.get((0, None), {})
        if header.mode == "embedding":
            base.setdefault("output", Decimal(0))
        if header.mode not in _TOKEN_MODES or not {"input", "output"} <= base.keys():
            return None
        return MapModel(
            provider=header.litellm_provider,
            mode=header.mode,
            price=PriceVersion(
                price_id=f"litellm:{name}@{self._digest}",
                model=name,
                provider=header.litellm_provider,
                effective_from=_ALWAYS,
                rates=Rates(**base),
                tiers=tuple(_tiers(cards)),
                web_search=_web_search(header),
                max_output_tokens=header.max_output_tokens,
                source="litellm",
                created_at=_ALWAYS,
            ),
        )

    def find(self, provider: str, model: str) -> MapModel | None:
        """A routed model's row: by exact name, then provider-qualified; of that provider only."""
        for name in model_names(provider, model):
            found = self.get(name)
            if found is not None and found.provider == provider:
                return found
        return None


def _rate_cards(
    row: Mapping[str, msgspec.Raw],
) -> defaultdict[tuple[int, str | None], dict[str, Decimal]]:
    """USD per million by (threshold, service tier) and token class.

    Raises msgspec.ValidationError where a rate is not a price.
    """
    cards: defaultdict[tuple[int, str | None], dict[str, Decimal]] = defaultdict(dict)
    for key, raw in row.items():
        match = _KEY.match(key)
        if match is None:
            continue
        name, thousands, suffix = match.groups()
        per_token = msgspec.json.decode(raw, type=Decimal | None)
        if per_token is None:
            continue
        if not (per_token.is_finite() and 0 <= per_token <= _MAX_PER_TOKEN):
            raise msgspec.ValidationError(f"{key} is not a price")
        card = cards[int(thousands or 0) * 1000, _SERVICE_TIERS.get(suffix, suffix)]
        card[_RATES[name]] = plain(EXACT.multiply(per_token, _MILLION))
    return cards


def _tiers(cards: Mapping[tuple[int, str | None], dict[str, Decimal]]) -> Iterator[Tier]:
    """One for each threshold and service tier; a rate that its card lacks is the nearest one's.

    As in litellm, a threshold that says nothing of a service tier applies to it all the same.
    """
    thresholds = sorted({threshold for threshold, _ in cards})
    service_tiers = sorted({tier or "" for _, tier in cards})
    for threshold, name in product(thresholds, service_tiers):
        service_tier = name or None
        if (threshold, service_tier) == (0, None):
            continue
        rates: dict[str, Any] = {}
        for key in ((0, None), (0, service_tier), (threshold, None), (threshold, service_tier)):
            rates |= cards.get(key, {})
        yield Tier(rates=Rates(**rates), above_input_tokens=threshold, service_tier=service_tier)


def _web_search(header: _Header) -> Decimal | None:
    costs = header.search_context_cost_per_query
    return None if not costs else costs.get("search_context_size_medium")
