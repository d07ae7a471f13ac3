"""Reads a document of genai-prices, another project's list of model prices.

It is read as data: the package would cost a second and 30 MB, and what it has is as old as itself.
Models that it knows by regular expressions alone are left out.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from libs.common.schemas.price import PriceVersion, Rates, Tier

# LiteLLM's providers, by genai-prices' names for them.
PROVIDERS = {
    "anthropic": "anthropic",
    "azure": "azure",
    "cerebras": "cerebras",
    "cohere_chat": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "perplexity": "perplexity",
    "together_ai": "together",
    "xai": "x-ai",
}
_RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "input_image_mtok": "input_image",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
}
_MAX_USD = Decimal(1_000_000)
_MAX_TIERS = 16
_MAX_THRESHOLD = 1_000_000_000
_MAX_DEPTH = 8


class _Model(msgspec.Struct):
    id: str
    match: dict[str, Any]
    prices: Any


class _Provider(msgspec.Struct):
    id: str
    models: list[_Model]


class GenaiPrices:
    """Raises msgspec.ValidationError where the document is none of its kind."""

    def __init__(self, document: bytes) -> None:
        decoder = msgspec.json.Decoder(list[_Provider], float_hook=Decimal)
        self._models = {each.id: each.models for each in decoder.decode(document)}
        self._by_name = {
            (provider, name): model
            for provider, models in self._models.items()
            for model in models
            for name in _equals(model.match)
        }

    def price_of(self, provider: str, model: str, at: datetime) -> PriceVersion | None:
        """By our name of the provider; None where it is not known, or has no price of tokens."""
        provider_id = PROVIDERS.get(provider)
        if provider_id is None:
            return None
        name = model.lower()
        found = self._by_name.get((provider_id, name))
        if found is None:
            models = self._models.get(provider_id, ())
            found = next((each for each in models if _matches(each.match, name)), None)
        prices = None if found is None else _in_force(found.prices, at)
        return None if found is None or prices is None else _version(found.id, provider, prices, at)


def _equals(match: Mapping[str, Any]) -> list[str]:
    """The names that a clause gives outright, which are nearly all."""
    clauses = match.get("or", [match])
    if not isinstance(clauses, list):
        return []
    names = (clause.get("equals") for clause in clauses if isinstance(clause, dict))
    return [name.lower() for name in names if isinstance(name, str)]


def _matches(clause: Any, name: str, depth: int = 0) -> bool:
    if not isinstance(clause, dict) or depth > _MAX_DEPTH:
        return False
    match list(clause.items()):
        case [("equals", str(text))]:
            return name == text.lower()
        case [("starts_with", str(text))]:
            return name.startswith(text.lower())
        case [("ends_with", str(text))]:
            return name.endswith(text.lower())
        case [("contains", str(text))]:
            return text.lower() in name
        case [("or", list(clauses))]:
            return any(_matches(each, name, depth + 1) for each in clauses)
        case [("and", list(clauses))]:
            return bool(clauses) and all(_matches(each, name, depth + 1) for each in clauses)
        case _:
            return False


def _in_force(prices: Any, at: datetime) -> Mapping[str, Any] | None:
    """The last set that has begun; those for hours of the day are left out."""
    if isinstance(prices, dict):
        return prices
    if not isinstance(prices, list):
        return None
    found: Mapping[str, Any] | None = None
    for each in prices:
        if not isinstance(each, dict) or not isinstance(each.get("prices"), dict):
            return None
        if _has_begun(each.get("constraint"), at):
            found = each["prices"]
    return found


def _has_begun(constraint: Any, at: datetime) -> bool:
    if constraint is None:
        return True
    start = constraint.get("start_date") if isinstance(constraint, dict) else None
    try:
        return isinstance(start, str) and date.fromisoformat(start) <= at.date()
    except ValueError:
        return False


def _version(
    name: str, provider: str, prices: Mapping[str, Any], at: datetime
) -> PriceVersion | None:
    sheets: dict[int, dict[str, Decimal]] = {0: {}}
    for field, rate in _RATES.items():
        value = prices.get(field)
        steps = _steps(value)
        if value is not None and steps is None:
            return None
        for start, usd in steps or ():
            sheets.setdefault(start, {})[rate] = usd
    if "input" not in sheets[0] or len(sheets) > _MAX_TIERS:
        return None
    # Embeddings have no output.
    sheets[0].setdefault("output", Decimal(0))
    tiers, rates = list[Tier](), dict[str, Decimal]()
    for start in sorted(sheets):
        rates |= sheets[start]
        if start:
            tiers.append(Tier(rates=Rates(**rates), above_input_tokens=start))
    searches = _usd(prices.get("web_searches_kcount"))
    return PriceVersion(
        price_id=f"genai-prices:{name}",
        model=name,
        provider=provider,
        effective_from=at,
        rates=Rates(**sheets[0]),
        tiers=tuple(tiers),
        web_search=None if searches is None else searches / 1_000,
        created_at=at,
    )


def _steps(value: Any) -> Sequence[tuple[int, Decimal]] | None:
    """A rate from each number of input tokens on; None where it is not a price."""
    if not isinstance(value, dict):
        usd = _usd(value)
        return None if usd is None else [(0, usd)]
    tiers = value.get("tiers")
    if not isinstance(tiers, list) or len(tiers) > _MAX_TIERS:
        return None
    steps: list[tuple[int, Decimal]] = []
    for step in ({"start": 0, "price": value.get("base")}, *tiers):
        start = step.get("start") if isinstance(step, dict) else None
        usd = None if start is None else _usd(step.get("price"))
        if usd is None or not isinstance(start, int) or not 0 <= start <= _MAX_THRESHOLD:
            return None
        steps.append((start, usd))
    return steps


def _usd(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    usd = Decimal(value)
    return usd if usd.is_finite() and 0 <= usd <= _MAX_USD else None
