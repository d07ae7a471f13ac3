"""Prices: immutable versions of what a model costs."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

PriceSource = Literal["admin", "litellm"]
# What the fee for searches is for: each one, or the call that searches, however often.
SearchUnit = Literal["search", "call"]
# What a call costs: tokens at rates, or what the provider says that it cost.
PriceBasis = Literal["rates", "provider_reported"]
PROVIDER_REPORTED: PriceBasis = "provider_reported"

# The multiplier of a price that is charged as it is.
AT_COST = Decimal(1)

# The surcharge for an answer in a faster mode; the others go by where the model ran.
FAST = "fast"
# The surcharge for any region that has none of its own, `global` excepted.
REGIONAL = "regional"
# Where no region's factor applies.
GLOBAL = "global"
# That of OpenAI's endpoint for the government, which no call reaches unasked.
FEDRAMP = "fedramp"
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """USD per million tokens of each class. None falls back (see `domain.pricing`); 0 is free."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    cache_write_30m: Decimal | None = None
    cache_write_12h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    input_image: Decimal | None = None
    output_audio: Decimal | None = None
    output_image: Decimal | None = None
    citation: Decimal | None = None


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """From one minute of the day, in UTC, up to another, on those weekdays (1 is Monday)."""

    from_minute: int
    to_minute: int
    weekdays: tuple[int, ...] = EVERY_DAY


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Rates that replace the base rates for the whole call.

    They apply when the call was served at `service_tier` (None: at the standard one), its total
    input, cached tokens included, exceeds `above_input_tokens`, and it began within the `hours`
    (none: at any time).
    """

    rates: Rates
    above_input_tokens: int = 0
    service_tier: str | None = None
    hours: tuple[Hours, ...] = ()


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A model's price from `effective_from` until a newer version of it takes over.

    `effective_until` ends it earlier; nothing else of a version ever changes. `provider` "*" serves
    every provider. `web_search` is USD per search, or per call that searches (`web_search_per`);
    `tool_fees` are USD per use of the other tools, by name (see `domain.tool_fees`).
    `surcharges` are factors on every rate, each for calls that were served so: `fast`, or by the
    region that the model ran in, such as `us`. All of it is multiplied by `multiplier`: a mark-up
    above 1, a discount below. By the basis `provider_reported` the rates are for holds alone, and
    for answers that tell no cost. `import_id` names the import that it came with. `made_by` and
    `ended_by` are ids of actors.
    """

    price_id: str
    model: str
    provider: str = "*"
    aliases: tuple[str, ...] = ()
    effective_from: datetime
    effective_until: datetime | None = None
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    web_search: Decimal | None = None
    web_search_per: SearchUnit = "search"
    tool_fees: dict[str, Decimal] = {}
    surcharges: dict[str, Decimal] = {}
    multiplier: Decimal = AT_COST
    basis: PriceBasis = "rates"
    max_output_tokens: int | None = None
    source: PriceSource = "admin"
    import_id: str | None = None
    made_by: str | None = None
    ended_by: str | None = None
    created_at: datetime

    @property
    def revision(self) -> str:
        """Of the one thing that may change."""
        return "open" if self.effective_until is None else self.effective_until.isoformat()


class PriceImport(msgspec.Struct, frozen=True, kw_only=True):
    """The versions that came with one import: all count from the same time until it is undone."""

    import_id: str
    versions: int
    undone: bool
    multiplier: Decimal
    effective_from: datetime
    made_by: str | None
    created_at: datetime

    @property
    def revision(self) -> str:
        return "undone" if self.undone else "made"
