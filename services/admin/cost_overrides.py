"""Finds the prices that a new price replaces, and the terms that are lost."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from libs.common.domain.price_lookup import find_price, is_pattern, model_names
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.price import PriceVersion
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.prices.provider_fees import with_provider_fees
from services.admin.bundled_prices import mapped, routed_name
from services.admin.cost_bodies import terms_view
from services.admin.state import State

# More providers than this do not serve a model by one name.
_MAX_REPLACED = 50
# The values of terms that a price does not set.
_SILENT: dict[str, Any] = {"web_search_per": "search", "multiplier": 1, "basis": "rates"}

# A provider, and what it calls a model.
_Routed = tuple[str, str]


class Underlay(msgspec.Struct, frozen=True):
    """The stored versions that may price some models, over LiteLLM's map."""

    versions: Sequence[PriceVersion]
    price_map: PriceMap

    @classmethod
    async def of(cls, state: State, provider: str, names: Iterable[str]) -> "Underlay":
        """`provider` "*" reads what every provider's calls may be priced by."""
        price_map = state["price_map"]
        price_names: set[str] = set()
        for name in names:
            price_names.add(name)
            for routed in _routed(name, provider, (), price_map):
                price_names.update(model_names(*routed))
        prices = state["prices"]
        return cls([*await prices.versions_of(price_names), *await prices.patterns()], price_map)

    def price_of(self, routed: _Routed, at: datetime) -> PriceVersion | None:
        """As a call to that provider would be priced."""
        found = find_price(self.versions, *routed, at)
        row = None if found is not None else self.price_map.find(*routed)
        return found if row is None else row.price

    def base(self, provider: str, model: str, at: datetime) -> PriceVersion:
        """The price that a version for the model replaces. Raises ValidationFailed without one."""
        problem = "has nothing to keep: the model has no price"
        if is_pattern(model):
            problem = "is for one model, and this name has a wildcard"
        else:
            # For every provider: what was set so, else the price of the model by that very name.
            routed = [(provider, model.removeprefix(f"{provider}/"))]
            row = mapped(self.price_map, model) if provider == "*" else None
            routed += [] if row is None else [(row.provider, routed_name(row))]
            for each in routed:
                found = self.price_of(each, at)
                if found is not None:
                    return found
        raise ValidationFailed([FieldError("inherit", problem)])

    def replaced_by(self, version: PriceVersion) -> list[dict[str, Any]]:
        """The prices that it takes over from at its start, with whose and what they lose."""
        replaced: dict[str, tuple[PriceVersion, list[_Routed]]] = {}
        at = version.effective_from
        for name in (version.model, *version.aliases):
            if is_pattern(name):
                continue
            for routed in _routed(name, version.provider, self.versions, self.price_map):
                before = self.price_of(routed, at)
                after = find_price([*self.versions, version], *routed, at)
                if before is not None and after is version:
                    replaced.setdefault(before.price_id, (before, []))[1].append(routed)
        return [
            {
                "price_id": before.price_id,
                "model": before.model,
                "source": before.source,
                "providers": sorted({provider for provider, _ in calls}),
                "takes_away": taken_away(before, version, calls[-1]),
            }
            for before, calls in list(replaced.values())[:_MAX_REPLACED]
        ]


def taken_away(before: PriceVersion, version: PriceVersion, routed: _Routed) -> dict[str, Any]:
    """The terms of the one price that the other is silent on, with their values.

    Of fees, surcharges and tiers those that the other lacks, of tiers without their rates. What the
    provider's own fees make up for is not lost.
    """
    old, new = terms_view(before), terms_view(version)
    charged = terms_view(with_provider_fees(version, *routed))
    lost: dict[str, Any] = {}
    for name, value in old.items():
        silent = _SILENT.get(name)
        if isinstance(value, dict):
            missing = {
                key: each
                for key, each in value.items()
                if key not in new[name] and charged[name].get(key) != each
            }
            lost |= {name: missing} if missing else {}
        elif isinstance(value, list):
            kept = [_condition(tier) for tier in new[name]]
            gone = [condition for tier in value if (condition := _condition(tier)) not in kept]
            lost |= {name: gone} if gone else {}
        elif value != silent and new[name] == silent and charged[name] != value:
            lost[name] = value
    aliases = [alias for alias in before.aliases if alias not in version.aliases]
    if aliases and (before.model, before.provider) == (version.model, version.provider):
        lost["aliases"] = aliases
    return lost


def _condition(tier: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tier.items() if not name.endswith("_per_million")}


def _routed(
    name: str, provider: str, versions: Iterable[PriceVersion], price_map: PriceMap
) -> Iterator[_Routed]:
    """The calls that a price by that name may be for, as far as anything is known of them."""
    if provider != "*":
        yield provider, name.removeprefix(f"{provider}/")
        return
    yield provider, name
    row = mapped(price_map, name)
    if row is not None:
        yield row.provider, routed_name(row)
    for each in sorted(price_map.providers):
        if price_map.find(each, name) is not None:
            yield each, name
    for version in versions:
        if version.provider != "*":
            yield version.provider, name.removeprefix(f"{version.provider}/")
