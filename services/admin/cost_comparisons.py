"""`/admin/costs/compare`: the prices in force beside LiteLLM's bundled map, or genai-prices."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import EXACT, plain_amount
from libs.common.domain.token_classes import rate_of
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.price import PriceSource, PriceVersion, Rates
from libs.common.storage.prices.price_map import MapModel, PriceMap
from services.admin.bundled_prices import routed_name
from services.admin.cost_changes import StoredPrices, differences
from services.admin.cost_views import Change, changes_of
from services.admin.endpoints import Answer
from services.admin.fields import Model, PageSize, Provider, Time
from services.admin.genai_prices import GenaiPrices
from services.admin.pages import DEFAULT_PAGE_SIZE, ListCursor, cursor_of, cursor_place
from services.admin.state import State

# The classes that both lists have, by the fields that set their rates.
_CLASSES = {
    "input_cost_per_million": "input_text",
    "output_cost_per_million": "output_text",
    "cached_read_cost_per_million": "cache_read",
    "cache_write_cost_per_million": "cache_write_5m",
    "cache_write_1h_cost_per_million": "cache_write_1h",
    "reasoning_cost_per_million": "reasoning",
    "input_audio_cost_per_million": "input_audio",
    "input_image_cost_per_million": "input_image",
    "output_audio_cost_per_million": "output_audio",
    "output_image_cost_per_million": "output_image",
}


class CompareBody(msgspec.Struct, frozen=True, kw_only=True):
    """`genai_prices` is the document that genai-prices publishes (`data.json`), as it is.

    Without it stored prices are compared with LiteLLM's rows. `pattern` is of the map's names.
    """

    genai_prices: tuple[msgspec.Raw, ...] | None = None
    provider: Provider | None = None
    pattern: Model | None = None
    at: Time | None = None
    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET


class RateDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A rate of calls with more input tokens than that, by the one list and the other."""

    above_input_tokens: int
    rate: str
    ours: Decimal | None
    theirs: Decimal | None


class _Differing(msgspec.Struct, frozen=True):
    model: str
    price: PriceVersion
    other_id: str
    differences: dict[str, Change] | tuple[RateDifference, ...]


class ComparedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """`differences` are by term from LiteLLM's row, or a list of rates from genai-prices."""

    model: str
    provider: str
    price_id: str
    source: PriceSource
    other: str
    differences: dict[str, Change] | tuple[RateDifference, ...]


class ComparisonPage(msgspec.Struct, frozen=True, kw_only=True):
    other: Literal["bundled", "genai-prices"] = msgspec.field(name="with")
    at: datetime
    models: int
    differing: int
    data: tuple[ComparedPrice, ...]
    next_cursor: str | None


async def compare_costs(request: Request[State], body: CompareBody) -> Answer[ComparisonPage]:
    """The models whose price in force differs, by the map's names for them."""
    state = request.state
    now = state["now"]()
    at = now if body.at is None else body.at
    after = cursor_place("model", body.cursor)
    stored = StoredPrices(await state["prices"].all())
    compared, found = await asyncio.to_thread(_compare, state["price_map"], stored, body, at)
    rest = [each for each in found if after is None or each.model > after]
    page = rest[: body.limit]
    other: Literal["bundled", "genai-prices"] = (
        "bundled" if body.genai_prices is None else "genai-prices"
    )
    view = ComparisonPage(
        other=other,
        at=at,
        models=compared,
        differing=len(found),
        data=tuple(
            ComparedPrice(
                model=each.model,
                provider=each.price.provider,
                price_id=each.price.price_id,
                source=each.price.source,
                other=each.other_id,
                differences=each.differences,
            )
            for each in page
        ),
        next_cursor=cursor_of("model", page[-1].model) if len(rest) > len(page) else None,
    )
    return Answer(view)


def _compare(
    price_map: PriceMap, stored: StoredPrices, body: CompareBody, at: datetime
) -> tuple[int, list[_Differing]]:
    """How many models both know, and those that differ, in the order of their names."""
    other_list = None if body.genai_prices is None else _document(body.genai_prices)
    compared, found = 0, list[_Differing]()
    for name, row in _rows(price_map, body):
        price = stored.price_of(row, at)
        if other_list is None:
            if price is None:
                continue
            other = row.price
            differing_terms: dict[str, Change] | tuple[RateDifference, ...] = changes_of(
                differences(other, price)
            )
        else:
            price = row.price if price is None else price
            theirs = other_list.price_of(row.provider, routed_name(row), at)
            if theirs is None:
                continue
            other, differing_terms = theirs, _rate_differences(price, theirs)
        compared += 1
        if differing_terms:
            found.append(_Differing(name, price, other.price_id, differing_terms))
    return compared, found


def _rows(price_map: PriceMap, body: CompareBody) -> Iterator[tuple[str, MapModel]]:
    for name in sorted(price_map.names()):
        if body.pattern is None or fnmatchcase(name, body.pattern):
            row = price_map.get(name)
            if row is not None and body.provider in (None, row.provider):
                yield name, row


def _document(providers: Sequence[msgspec.Raw]) -> GenaiPrices:
    try:
        return GenaiPrices(msgspec.json.encode(providers))
    except msgspec.ValidationError as error:
        raise ValidationFailed([FieldError("genai_prices", str(error))]) from None


def _rate_differences(ours: PriceVersion, theirs: PriceVersion) -> tuple[RateDifference, ...]:
    """The cost of a token of each class in both lists, below and above thresholds."""
    found: list[RateDifference] = []
    thresholds = {0, *_thresholds(ours), *_thresholds(theirs)}
    for above in sorted(thresholds):
        our_rates, their_rates = _rates_above(ours, above), _rates_above(theirs, above)
        for field, name in _CLASSES.items():
            if not any(_lists(rates, name) for rates in (our_rates, their_rates)):
                continue
            pair = _charged_rate(our_rates, name, ours), plain_amount(rate_of(their_rates, name))
            if pair[0] != pair[1]:
                found.append(
                    RateDifference(
                        above_input_tokens=above, rate=field, ours=pair[0], theirs=pair[1]
                    )
                )
    if None not in (ours.web_search, theirs.web_search) and ours.web_search != theirs.web_search:
        found.append(
            RateDifference(
                above_input_tokens=0,
                rate="web_search_cost",
                ours=ours.web_search,
                theirs=theirs.web_search,
            )
        )
    return tuple(found)


def _lists(rates: Rates, name: str) -> bool:
    """Whether the class has a rate of its own; what falls back is told where it falls to."""
    return getattr(rates, name.removesuffix("_text")) is not None


def _charged_rate(rates: Rates, name: str, price: PriceVersion) -> Decimal:
    return plain_amount(EXACT.multiply(rate_of(rates, name), price.multiplier))


def _thresholds(price: PriceVersion) -> Iterator[int]:
    for tier in price.tiers:
        if tier.service_tier is None and not tier.hours:
            yield tier.above_input_tokens


def _rates_above(price: PriceVersion, above: int) -> Rates:
    """Of a standard call with a token more than that; of a tier for hours none."""
    tiers = [
        tier
        for tier in price.tiers
        if tier.service_tier is None and not tier.hours and tier.above_input_tokens <= above
    ]
    return max(tiers, key=lambda tier: tier.above_input_tokens).rates if tiers else price.rates
