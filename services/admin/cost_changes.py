"""Compares the rows of a price map with the prices in force."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from libs.common.domain.price_lookup import (
    find_price,
    is_pattern,
    model_names,
    versions_in_force,
)
from libs.common.schemas.price import PriceVersion
from libs.common.storage.prices.price_map import MapModel, NotPriced, PriceMap
from services.admin.bundled_prices import routed_name
from services.admin.cost_bodies import terms_view
from services.admin.fields import model_problem, provider_problem

# `new`: no stored version is in force. `kept`: the administrator's price takes precedence.
ChangeKind = Literal["new", "changed", "same", "kept"]


class ImportRow(msgspec.Struct, frozen=True):
    """A model of the map, the version that its import creates and the price in force without it."""

    change: ChangeKind
    version: PriceVersion
    in_force: PriceVersion | None

    @property
    def is_stored(self) -> bool:
        return self.change in ("new", "changed")

    @property
    def differences(self) -> dict[str, Any]:
        """From what is in force to what the map says."""
        return {} if self.in_force is None else differences(self.in_force, self.version)


class CostMapReading(msgspec.Struct, frozen=True):
    """A map: its models with a price, the other rows by reason, and those that are unreadable.

    `undated` are the notes of rows whose price holds for a time, of which the map has no date.
    """

    models: tuple[MapModel, ...]
    skipped: Mapping[str, int]
    unreadable: tuple[tuple[str, str], ...]
    undated: tuple[tuple[str, str], ...]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms that an import gives to all of its versions."""

    import_id: str | None
    effective_from: datetime
    multiplier: Decimal
    made_by: str
    created_at: datetime


def read_map(price_map: PriceMap, names: Iterable[str], provider: str | None) -> CostMapReading:
    """The named rows; with a provider, its models alone."""
    models: list[MapModel] = []
    skipped: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    undated: list[tuple[str, str]] = []
    for name in names:
        found = price_map.read(name)
        if isinstance(found, MapModel):
            found = _name_problem(name, found) or found
        if isinstance(found, NotPriced):
            skipped[found.reason] += 1
            if found.reason == "unreadable":
                path = name[:256] if found.field is None else f"{name[:256]}.{found.field}"
                unreadable.append((f"price_map.{path}", found.message))
        elif found is not None and provider in (None, found.provider):
            models.append(found)
            note = price_map.note(name)
            if note is not None:
                undated.append((name, note))
    return CostMapReading(tuple(models), skipped, tuple(unreadable), tuple(undated))


def _name_problem(name: str, found: MapModel) -> NotPriced | None:
    """A wildcard would price more than its row says."""
    problem = "has a wildcard" if is_pattern(name) else model_problem(name)
    if problem is not None:
        return NotPriced("unreadable", f"is not a model's name: {problem}")
    problem = provider_problem(found.provider)
    return None if problem is None else NotPriced("unreadable", problem, "litellm_provider")


def rows_of(
    models: Sequence[MapModel],
    versions: Sequence[PriceVersion],
    bundled: PriceMap,
    terms: Terms,
    price_ids: Iterator[str],
) -> list[ImportRow]:
    """`versions` are those stored that may price the models."""
    stored = StoredPrices(versions)
    rows: list[ImportRow] = []
    for model in models:
        found = stored.price_of(model, terms.effective_from)
        version = msgspec.structs.replace(
            model.price,
            price_id=next(price_ids),
            effective_from=terms.effective_from,
            multiplier=terms.multiplier,
            import_id=terms.import_id,
            made_by=terms.made_by,
            created_at=terms.created_at,
        )
        in_force = found
        if in_force is None and (row := bundled.get(version.model)) is not None:
            in_force = row.price
        rows.append(ImportRow(_change(found, version), version, in_force))
    return rows


def differences(found: PriceVersion, version: PriceVersion) -> dict[str, Any]:
    """The terms in which the second is another price than the first."""
    old, new = terms_view(found), terms_view(version)
    return {
        name: {"from": old[name], "to": value} for name, value in new.items() if old[name] != value
    }


class StoredPrices:
    """Versions by name, since a scan of all versions for each model is too slow."""

    def __init__(self, versions: Sequence[PriceVersion]) -> None:
        self._of_model: defaultdict[str, list[PriceVersion]] = defaultdict(list)
        self._models_of: defaultdict[str, set[str]] = defaultdict(set)
        self._patterns: list[PriceVersion] = []
        for version in versions:
            self._of_model[version.model].append(version)
            for name in (version.model, *version.aliases):
                self._models_of[name].add(version.model)
                if is_pattern(name):
                    self._patterns.append(version)

    def price_of(self, model: MapModel, at: datetime) -> PriceVersion | None:
        """The administrator's price, else the one that was imported from this very row.

        The map may have another row for the same model, by its bare or its qualified name.
        """
        names = model_names(model.provider, routed_name(model))
        models = {found for name in names for found in self._models_of[name]}
        versions = [version for name in models for version in self._of_model[name]]
        own = [v for v in (*versions, *self._patterns) if v.source == "admin"]
        price = find_price(own, model.provider, routed_name(model), at)
        if price is not None:
            return price
        imported = [v for v in self._of_model[model.price.model] if v.source == "litellm"]
        return next(
            (v for v in versions_in_force(imported, at) if v.provider == model.provider), None
        )


def _change(found: PriceVersion | None, version: PriceVersion) -> ChangeKind:
    if found is None:
        return "new"
    if found.source == "admin":
        return "kept"
    return "changed" if differences(found, version) else "same"
