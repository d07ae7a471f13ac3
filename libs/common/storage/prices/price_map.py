"""LiteLLM's bundled price map, read as data: no import of litellm and no network."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Set
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.price_lookup import model_names
from libs.common.domain.tool_fees import WEB_SEARCH
from libs.common.schemas.price import PriceVersion, Rates, SearchUnit
from libs.common.settings import SettingsError
from libs.common.storage.prices.price_notes import passing_note
from libs.common.storage.prices.price_rows import read_rates
from libs.common.storage.prices.row_fees import read_fees
from libs.common.storage.prices.row_fields import RowFieldError
from libs.common.storage.prices.row_surcharges import read_surcharges

MAP_FILE = "model_prices_and_context_window_backup.json"
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
_SERVED_MODES = frozenset({"chat", "responses", "embedding"})
_GROUNDED_PER_CALL = frozenset({"gemini", "vertex_ai", "vertex_ai-language-models"})
_USING_TOOLS = frozenset({"chat", "responses"})
# How the map names the kinds of models of a provider.
_KINDS = {
    "bedrock_converse": "bedrock",
    "fireworks_ai-": "fireworks_ai",
    "vertex_ai-": "vertex_ai",
}
# The map names about 150.
_MAX_PROVIDERS = 1_000
_IMAGES = "image_generation"
_TOKEN_MODES = frozenset({"chat", "responses", "completion", "embedding", _IMAGES})


class _Header(msgspec.Struct):
    litellm_provider: str = ""
    mode: str | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] | None = None
    web_search_billing_unit: str | None = None


class _Mode(msgspec.Struct):
    mode: str | None = None


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_mode = msgspec.json.Decoder(_Mode).decode
_decode_row = msgspec.json.Decoder(dict[str, Any]).decode


def map_file(path: str | None) -> Path | None:
    """`path`, or the map inside the installed litellm package; None without either."""
    if path is not None:
        return Path(path)
    spec = find_spec("litellm")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / MAP_FILE


class MapModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the map: who serves it and what it costs."""

    provider: str
    mode: str
    price: PriceVersion


class NotPriced(msgspec.Struct, frozen=True):
    """Why a row is not a price of tokens; `field` is the unreadable member, where it is known."""

    reason: Literal["unreadable", "no_provider", "not_by_tokens", "no_rates"]
    message: str
    field: str | None = None


class PriceMap:
    """Models by the map's own names; rows are decoded when they are asked for."""

    def __init__(self, data: bytes) -> None:
        self._rows: dict[str, msgspec.Raw] = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        self._digest = hashlib.sha256(data).hexdigest()[:8]

    @classmethod
    def open(cls, path: str | None) -> "PriceMap":
        """Reads `path`, or the map inside the installed litellm package; empty without either."""
        file = map_file(path)
        if path is None and file is not None:
            return _bundled(file)
        return cls(b"{}" if file is None else file.read_bytes())

    def __len__(self) -> int:
        return len(self._rows)

    def names(self) -> Iterator[str]:
        return iter(self._rows)

    @property
    def providers(self) -> Set[str]:
        """Every provider that serves a model of the map."""
        return self._served_names.keys()

    def names_of(self, providers: Collection[str]) -> list[str]:
        """The models of those providers that the gateway has an endpoint for, sorted."""
        lists = (names for provider, names in self._served_names.items() if provider in providers)
        return sorted(chain.from_iterable(lists))

    @cached_property
    def _served_names(self) -> dict[str, list[str]]:
        """By provider, the models that the gateway has an endpoint for."""
        by_provider: dict[str, list[str]] = {}
        for name, raw in self._rows.items():
            try:
                header = _decode_header(raw)
            except msgspec.ValidationError:
                continue
            names = by_provider.setdefault(provider_of(header.litellm_provider), [])
            if header.mode in _SERVED_MODES:
                names.append(name)
        return by_provider

    def get(self, name: str) -> MapModel | None:
        """None where the name is unknown, or is not a model that is billed by tokens."""
        row = self.read(name)
        return row if isinstance(row, MapModel) else None

    def read(self, name: str) -> MapModel | NotPriced | None:
        """As `get`, but says why a row is not a price."""
        raw = self._rows.get(name)
        if raw is None:
            return None
        try:
            mode = _decode_mode(raw).mode
            if mode not in _TOKEN_MODES:
                return NotPriced(
                    "not_by_tokens", "has no mode" if mode is None else f"is for {mode}"
                )
            header = _decode_header(raw)
            row = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            rates = read_rates(row, header.litellm_provider, name)
            surcharges = read_surcharges(row, header.litellm_provider)
            fees = read_fees(row, header.litellm_provider, name) if mode in _USING_TOOLS else {}
        except RowFieldError as error:
            return NotPriced("unreadable", error.problem, error.field)
        except msgspec.ValidationError as error:
            return NotPriced("unreadable", f"cannot be read: {error}")
        if not header.litellm_provider:
            return NotPriced("no_provider", "names no provider")
        base = rates.base
        if mode == "embedding":
            base.setdefault("output", Decimal(0))
        elif mode == _IMAGES:
            if "output_image" not in base:
                return NotPriced("not_by_tokens", f"is for {mode}, and not by tokens")
            # They are run by tools of other models; what they write costs what they draw.
            base.setdefault("output", base["output_image"])
        if not {"input", "output"} <= base.keys():
            return NotPriced("no_rates", "has no price for input or for output tokens")
        provider = provider_of(header.litellm_provider)
        return MapModel(
            provider=provider,
            mode=mode,
            price=PriceVersion(
                price_id=f"litellm:{name}@{self._digest}",
                model=name,
                provider=provider,
                effective_from=_ALWAYS,
                rates=Rates(**base),
                tiers=rates.tiers,
                web_search=fees.pop(WEB_SEARCH, None),
                web_search_per=_web_search_per(header),
                tool_fees=fees,
                surcharges=surcharges,
                max_output_tokens=header.max_output_tokens,
                source="litellm",
                created_at=_ALWAYS,
            ),
        )

    def abilities(self, provider: str, model: str) -> Mapping[str, Any] | None:
        """All members of a routed model's row, whatever it costs; None where there is none."""
        for name in model_names(provider, model):
            raw = self._rows.get(name)
            if raw is None:
                continue
            try:
                row = _decode_row(raw)
            except UNREADABLE:
                continue
            if provider_of(str(row.get("litellm_provider"))) == provider:
                return row
        return None

    def note(self, name: str) -> str | None:
        """What the row says of a price that holds for a time only (see `price_notes`)."""
        raw = self._rows.get(name)
        return None if raw is None else passing_note(raw)

    def find(self, provider: str, model: str) -> MapModel | None:
        """A routed model's row: by exact name, then provider-qualified; of that provider only."""
        for name in model_names(provider, model):
            found = self.get(name)
            if found is not None and found.provider == provider:
                return found
        return None


# A service looks at it before its start and opens it then.
@cache
def _bundled(file: Path) -> PriceMap:
    return PriceMap(file.read_bytes())


def _web_search_per(header: _Header) -> SearchUnit:
    """Google charges for a call that searches, where the row does not say otherwise."""
    if header.litellm_provider not in _GROUNDED_PER_CALL:
        return "search"
    return "search" if header.web_search_billing_unit == "per_query" else "call"


@lru_cache(maxsize=_MAX_PROVIDERS)
def provider_of(map_provider: str) -> str:
    """LiteLLM's name of the provider; the map tells some providers' kinds of models apart."""
    for kinds, provider in _KINDS.items():
        if map_provider.startswith(kinds):
            return provider
    return map_provider


def open_price_map(path: str | None) -> PriceMap:
    """As a service does at its start: raises SettingsError where it cannot be read."""
    try:
        return PriceMap.open(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"PRICE_MAP_PATH cannot be read: {error}") from None
