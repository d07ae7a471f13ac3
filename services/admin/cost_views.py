"""How answers show prices."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.schemas.price import PriceBasis, PriceSource, PriceVersion, SearchUnit
from services.admin.cost_bodies import terms_view


class RatesView(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens; null falls back to a related rate."""

    input_cost_per_million: Decimal | None
    output_cost_per_million: Decimal | None
    cached_read_cost_per_million: Decimal | None
    cache_write_cost_per_million: Decimal | None
    cache_write_1h_cost_per_million: Decimal | None
    cache_write_30m_cost_per_million: Decimal | None
    cache_write_12h_cost_per_million: Decimal | None
    reasoning_cost_per_million: Decimal | None
    input_audio_cost_per_million: Decimal | None
    input_image_cost_per_million: Decimal | None
    output_audio_cost_per_million: Decimal | None
    output_image_cost_per_million: Decimal | None
    citation_cost_per_million: Decimal | None


class HoursView(msgspec.Struct, frozen=True, kw_only=True):
    """In UTC; 1 is Monday."""

    begin: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    weekdays: tuple[int, ...]


class TierView(RatesView, frozen=True, kw_only=True):
    above_input_tokens: int
    service_tier: str | None
    hours: tuple[HoursView, ...]


class CostView(RatesView, frozen=True, kw_only=True):
    """`in_force` says whether calls are priced by it now, if that was asked."""

    price_id: str
    model: str
    provider: str
    aliases: tuple[str, ...]
    source: PriceSource
    import_id: str | None
    made_by: str | None
    ended_by: str | None
    web_search_cost: Decimal | None
    web_search_per: SearchUnit
    tool_fees: dict[str, Decimal]
    surcharges: dict[str, Decimal]
    multiplier: Decimal
    basis: PriceBasis
    max_output_tokens: int | None
    tiers: tuple[TierView, ...]
    effective_from: datetime
    effective_until: datetime | None
    created_at: datetime
    in_force: bool | UnsetType = UNSET


class ReplacedView(msgspec.Struct, frozen=True, kw_only=True):
    """A price that a new one takes over from; `takes_away` are terms that the new one lacks."""

    price_id: str
    model: str
    source: PriceSource
    providers: tuple[str, ...]
    takes_away: dict[str, Any]


class NewCostView(CostView, frozen=True, kw_only=True):
    """`inherits` is the price that the version has its other terms from."""

    inherits: str | None
    replaces: tuple[ReplacedView, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a term: of a number, or of tiers, fees or surcharges."""

    before: Any = msgspec.field(name="from")
    after: Any = msgspec.field(name="to")


class BundledView(msgspec.Struct, frozen=True, kw_only=True):
    """The row of LiteLLM's map beside a version, and how they differ."""

    price_id: str
    differences: dict[str, Change]


class ShownCostView(CostView, frozen=True, kw_only=True):
    bundled: BundledView | None


def cost_view(version: PriceVersion, *, in_force: bool | UnsetType = UNSET) -> CostView:
    return CostView(**_members(version), in_force=in_force)


def new_cost_view(
    version: PriceVersion, inherits: str | None, replaces: Sequence[dict[str, Any]]
) -> NewCostView:
    replaced = tuple(ReplacedView(**each) for each in replaces)
    return NewCostView(**_members(version), inherits=inherits, replaces=replaced)


def shown_cost_view(
    version: PriceVersion, bundled: BundledView | None, *, in_force: bool
) -> ShownCostView:
    return ShownCostView(**_members(version), bundled=bundled, in_force=in_force)


def changes_of(differences: dict[str, Any]) -> dict[str, Change]:
    return {
        name: Change(before=change["from"], after=change["to"])
        for name, change in differences.items()
    }


def _members(version: PriceVersion) -> dict[str, Any]:
    terms = terms_view(version)
    terms["tiers"] = tuple(msgspec.convert(tier, TierView) for tier in terms["tiers"])
    return {
        "price_id": version.price_id,
        "model": version.model,
        "provider": version.provider,
        "aliases": version.aliases,
        "source": version.source,
        "import_id": version.import_id,
        "made_by": version.made_by,
        "ended_by": version.ended_by,
        **terms,
        "effective_from": version.effective_from,
        "effective_until": version.effective_until,
        "created_at": version.created_at,
    }
