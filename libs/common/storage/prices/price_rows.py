"""Reads rates, thresholds and service tiers from a row of LiteLLM's price map.

The map says USD per token; keys carry suffixes, such as
`input_cost_per_token_above_200k_tokens_priority`. Which rate counts where several might is as in
litellm's own calculation, which `tests/parity` holds this against.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import product

import msgspec

from libs.common.domain.money import EXACT, plain_amount
from libs.common.schemas.price import Rates, Tier
from libs.common.storage.prices.row_fields import Row, RowFieldError, row_field, row_rate
from libs.common.storage.prices.row_hours import OFF_PEAK, read_hours

_BANDS = "tiered_pricing"
_MAX_THRESHOLD = 1_000_000_000
_MAX_THRESHOLDS = 16
_RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "citation_cost_per_token": "citation",
}
_KEY = re.compile(
    rf"^({'|'.join(sorted(_RATES, key=len, reverse=True))})"
    r"(?:_above_(\d{1,6})(k?)_tokens)?(?:_(flex|balanced|priority|ultrafast|batches))?$"
)
# Where the map's word for a service tier is not the one that providers report.
_BATCH = "batch"
_SERVICE_TIERS = {"batches": _BATCH}
_PRIORITY = "priority"
_HALF = Decimal("0.5")
_HALVED = frozenset({"input", "output", "cache_write_1h", "output_image"})
_HALVED_WITH_INPUT = frozenset({"cache_read", "cache_write_5m", "cache_write_30m"})
# OpenAI keeps what is written for half an hour, where others do so for five minutes.
_FIVE_MINUTES, _HALF_AN_HOUR = "cache_write_5m", "cache_write_30m"
# They charge the higher rates from the threshold on, not above it.
_FROM_THE_THRESHOLD = frozenset({"xai"})
# What the map lacks: what priority costs there, times the standard rates, those of cached input
# included. docs.x.ai, pricing and priority processing, September 2026.
_PRIORITY_FACTORS = {"xai": Decimal(2)}
# What a cached token costs where the row does not say, as a share of the rate of input.
_CACHE_READ_SHARES = {"fireworks_ai": Decimal("0.5")}

# By (threshold, service tier): USD per million of each class.
_Cards = defaultdict[tuple[int, str | None], dict[str, Decimal]]


class RowRates(msgspec.Struct, frozen=True):
    """`base` is what a `Rates` is made of; it may lack what every price needs."""

    base: dict[str, Decimal]
    tiers: tuple[Tier, ...]


def is_rate(key: str) -> bool:
    """Whether the member of that name is one of the rates that are read."""
    return _KEY.match(key) is not None


def read_rates(row: Row, provider: str, name: str) -> RowRates:
    """Raises RowFieldError where a rate is not a price."""
    cards = _cards(row)
    if provider == "openai" or "gpt-" in name:
        for card in cards.values():
            if _FIVE_MINUTES in card:
                card[_HALF_AN_HOUR] = card.pop(_FIVE_MINUTES)
    base = cards[0, None]
    share = _CACHE_READ_SHARES.get(provider)
    if share is not None and "input" in base and "cache_read" not in base:
        base["cache_read"] = plain_amount(EXACT.multiply(base["input"], share))
    if _BANDS in row:
        bands = _bands(row, base)
        if bands:
            return RowRates(bands[0][1], tuple(_band_tiers(bands)))
    if not {"input", "output"} <= base.keys():
        return RowRates(base, ())
    tiers = list(_tiers(cards, 1 if provider in _FROM_THE_THRESHOLD else 0))
    factor = _PRIORITY_FACTORS.get(provider)
    if factor is not None and not any(tier.service_tier == _PRIORITY for tier in tiers):
        standard = [Tier(rates=Rates(**base)), *(t for t in tiers if t.service_tier is None)]
        tiers += [_at_priority(tier, factor) for tier in standard]
    return RowRates(base, (*tiers, *_off_peak_tiers(row, base)))


def _cards(row: Row) -> _Cards:
    cards: _Cards = defaultdict(dict)
    for key in row:
        match = _KEY.match(key)
        if match is None:
            continue
        name, digits, thousands, suffix = match.groups()
        rate = row_rate(row, key)
        if rate is not None:
            threshold = int(digits or 0) * (1000 if thousands else 1)
            cards[threshold, _SERVICE_TIERS.get(suffix, suffix)][_RATES[name]] = rate
    thresholds = {threshold for threshold, _ in cards}
    if len(thresholds) > _MAX_THRESHOLDS:
        raise RowFieldError(
            f"above_{max(thresholds)}_tokens", f"is one of {len(thresholds)} thresholds"
        )
    return cards


def _tiers(cards: _Cards, closer: int) -> Iterator[Tier]:
    """One for each threshold and service tier; a rate that its card lacks is the nearest one's."""
    yield from _batch_tiers(cards, closer)
    thresholds = sorted({threshold for threshold, tier in cards if tier != _BATCH})
    service_tiers = sorted({tier or "" for _, tier in cards if tier != _BATCH})
    for threshold, name in product(thresholds, service_tiers):
        service_tier = name or None
        if (threshold, service_tier) != (0, None):
            passed = [t for t in thresholds if t <= threshold]
            yield Tier(
                rates=Rates(**_overlaid(cards, passed, service_tier)),
                above_input_tokens=max(threshold - closer, 0),
                service_tier=service_tier,
            )


def _overlaid(cards: _Cards, passed: list[int], service_tier: str | None) -> dict[str, Decimal]:
    """A threshold that says nothing of a service tier applies to it all the same."""
    rates: dict[str, Decimal] = {}
    for threshold, tier in product(passed, (None, service_tier)):
        card = cards.get((threshold, tier), {})
        if tier is not None and "output" in card:
            # A service tier with a price of its own for output charges reasoning by that.
            rates.pop("reasoning", None)
        rates |= card
    return rates


def _batch_tiers(cards: _Cards, closer: int) -> Iterator[Tier]:
    """In a batch everything costs half, where its own rate is not given.

    But where a batch has a rate of its own for input and none for cached input, that costs as much
    as outside of batches. Other thresholds count for batches where they have rates for them.
    """
    batched = {threshold for threshold, tier in cards if tier == _BATCH}
    standards = sorted(t for t, tier in cards if tier is None)
    cached = {t for t in standards if "cache_read" in cards[t, None]}
    own_rates: dict[str, Decimal] = {}
    halves: dict[str, Decimal] = {}
    for threshold in sorted(batched | {t for t in cached if batched and t > min(batched)}):
        standard = _overlaid(cards, [t for t in standards if t <= threshold], None)
        if threshold in batched:
            own_rates |= cards[threshold, _BATCH]
            halves = {
                name: plain_amount(EXACT.multiply(rate, _HALF))
                for name, rate in standard.items()
                if name in _HALVED or (name in _HALVED_WITH_INPUT and "input" not in own_rates)
            }
        if "input" in own_rates and "cache_read" in standard:
            halves["cache_read"] = standard["cache_read"]
        yield Tier(
            rates=Rates(**(halves | own_rates)),
            above_input_tokens=max(threshold - closer, 0),
            service_tier=_BATCH,
        )


def _at_priority(tier: Tier, factor: Decimal) -> Tier:
    rates: dict[str, Decimal] = {
        name: plain_amount(EXACT.multiply(rate, factor))
        for name, rate in msgspec.structs.asdict(tier.rates).items()
        if rate is not None
    }
    return msgspec.structs.replace(tier, rates=Rates(**rates), service_tier=_PRIORITY)


def _off_peak_tiers(row: Row, base: dict[str, Decimal]) -> Iterator[Tier]:
    """Other rates at some hours; what they leave out costs the same at all."""
    if OFF_PEAK not in row:
        return
    card = row_field(row, OFF_PEAK, dict[str, msgspec.Raw] | None) or {}
    rates = {
        _RATES[key]: rate
        for key in card
        if key in _RATES and (rate := row_rate(card, key)) is not None
    }
    hours = read_hours(card)
    if rates and hours:
        yield Tier(rates=Rates(**(base | rates)), hours=hours)


def _bands(row: Row, base: Mapping[str, Decimal]) -> list[tuple[int, dict[str, Decimal]]]:
    """`tiered_pricing`: whole sets of rates by the range that the input total lies in."""
    bands = []
    for band in row_field(row, _BANDS, list[dict[str, msgspec.Raw]]):
        if "range" not in band:
            raise RowFieldError(_BANDS, "is not by tokens")
        above, _ = row_field(band, "range", tuple[float, float])
        if not 0 <= above <= _MAX_THRESHOLD:
            raise RowFieldError(_BANDS, f"must begin between 0 and {_MAX_THRESHOLD} tokens")
        rates = {
            _RATES[key]: rate
            for key in band
            if key in _RATES and (rate := row_rate(band, key)) is not None
        }
        if "output" not in rates:
            rates |= {name: base[name] for name in ("output", "reasoning") if name in base}
        if not {"input", "output"} <= rates.keys():
            raise RowFieldError(_BANDS, "lacks a rate")
        bands.append((int(above), rates))
    if len(bands) > _MAX_THRESHOLDS:
        raise RowFieldError(_BANDS, f"has more than {_MAX_THRESHOLDS} ranges")
    return sorted(bands, key=lambda band: band[0])


def _band_tiers(bands: list[tuple[int, dict[str, Decimal]]]) -> Iterator[Tier]:
    for above, rates in bands[1:]:
        yield Tier(rates=Rates(**rates), above_input_tokens=above)
