"""`/admin/costs`: what models cost. A version never changes; a newer one replaces it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.price_lookup import (
    PATTERNS,
    find_price,
    is_pattern,
    model_names,
    versions_in_force,
)
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.price import PriceSource, PriceVersion
from libs.common.storage.mongo.prices import PriceFilter
from libs.common.storage.mongo.slices import RowPlace, by_id, sliced
from libs.common.storage.prices.price_map import MapModel
from services.admin.alerts.prices import tell_price
from services.admin.bundled_prices import mapped, priced_by_id, routed_name, rows_in
from services.admin.clock import to_utc_ms
from services.admin.cost_bodies import NewCost, version_of
from services.admin.cost_changes import differences
from services.admin.cost_overrides import Underlay
from services.admin.cost_views import (
    BundledView,
    CostView,
    NewCostView,
    ShownCostView,
    changes_of,
    cost_view,
    new_cost_view,
    shown_cost_view,
)
from services.admin.creations import creation_of
from services.admin.endpoints import Answer
from services.admin.fields import Id, Model, Provider, Time
from services.admin.pages import Page, PageQuery
from services.admin.people.actor import actor_of
from services.admin.revisions import changed, etag_of
from services.admin.state import State

# Of all models, of every version, and of one model's versions.
CostOrder = Literal["model", "-model", "price_id", "-price_id", "effective_from", "-effective_from"]


class CostQuery(PageQuery, frozen=True, kw_only=True):
    """`history` shows every version, else those in force `at` that time. A page of all models has
    `limit` of them, whatever the number of their prices; `bundled` adds those of LiteLLM's map
    that apply because nothing is stored. `pattern` is of models, with wildcards."""

    model: Model | UnsetType = UNSET
    pattern: Model | UnsetType = UNSET
    provider: Provider | UnsetType = UNSET
    source: PriceSource | UnsetType = UNSET
    import_id: Id | UnsetType = UNSET
    bundled: bool = False
    history: bool = False
    at: Time | UnsetType = UNSET
    sort: CostOrder | UnsetType = UNSET

    def order(self, field: str, default: str | None = None) -> str:
        """Raises ValidationFailed for the order of another list."""
        if self.sort is UNSET:
            return default or field
        if self.sort.removeprefix("-") != field:
            message = f"must be {field} or -{field} with these parameters"
            raise ValidationFailed([FieldError("sort", message)])
        return self.sort

    @property
    def filter(self) -> PriceFilter:
        names = ("source", "provider", "pattern", "import_id")
        values = {name: getattr(self, name) for name in names}
        return PriceFilter(**{name: value for name, value in values.items() if value is not UNSET})


class EndQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Without `at`, a version ends now."""

    at: Time | UnsetType = UNSET


async def create_cost(request: Request[State], body: NewCost) -> Answer[NewCostView]:
    state = request.state
    now = state["now"]()
    if body.aliases is not UNSET and body.model in body.aliases:
        raise ValidationFailed([FieldError("aliases", "repeats the model's own name")])
    at = now if body.effective_from is None else to_utc_ms(body.effective_from)
    base = None
    if body.inherit:
        underlay = await Underlay.of(state, body.provider, [body.model])
        base = underlay.base(body.provider, body.model, at)
    price_id, actor_id = f"price_{creation_of(request).new_id}", actor_of(request).id
    version = version_of(body, base, price_id=price_id, at=at, actor_id=actor_id, now=now)
    underlay = await Underlay.of(state, body.provider, [version.model, *version.aliases])
    if not await state["prices"].insert(version):
        # An earlier attempt of this request made it before its process died.
        version = await state["prices"].get(version.price_id) or version
    await tell_price(state, version)
    headers = await announce_prices(state, [version])
    inherits = None if base is None else base.price_id
    view = new_cost_view(version, inherits, underlay.replaced_by(version))
    return Answer(view, headers=etag_of(version) | headers)


async def end_cost(request: Request[State], query: EndQuery) -> Answer[CostView]:
    """The version applies until `at`; entries that it priced stay as they are.

    Afterwards the earlier version does not apply again. The price is the one that the model would
    have without any version from this source.
    """
    state, price_id = request.state, request.path_params["price_id"]
    now = state["now"]()
    until = now if query.at is UNSET else to_utc_ms(query.at)
    if until < now:
        message = "must not be in the past: calls since then are already priced"
        raise ValidationFailed([FieldError("at", message)])

    async def find() -> PriceVersion:
        version = await state["prices"].get(price_id)
        if version is None:
            raise NotFound(
                f"There is no price '{price_id[:128]}'. A price of LiteLLM's bundled map cannot be "
                "ended: set another one with POST /admin/costs.",
                param="price_id",
            )
        return version

    async def end(version: PriceVersion) -> PriceVersion | None:
        # A version that has not started yet never will.
        end_at = max(until, version.effective_from)
        return await state["prices"].end(version, end_at, actor_id=actor_of(request).id)

    version = await changed(request, find, end)
    await tell_price(state, version, ended=True)
    headers = await announce_prices(state, [version])
    return Answer(cost_view(version), headers=etag_of(version) | headers)


async def show_cost(request: Request[State]) -> Answer[ShownCostView]:
    """One version, whether calls are priced by it now, and how it differs from LiteLLM's row."""
    state, price_id = request.state, request.path_params["price_id"]
    now = state["now"]()
    version = await state["prices"].get(price_id)
    if version is None:
        version = priced_by_id(state["price_map"], price_id)
    row = mapped(state["price_map"], version.model)
    versions = await _versions(state, version.model, row)
    in_force = version.price_id in _in_force(versions, row, version.model, now)
    view = shown_cost_view(version, _bundled_view(version, row), in_force=in_force)
    return Answer(view, headers=etag_of(version))


async def list_costs(request: Request[State], query: CostQuery) -> Answer[Page[CostView]]:
    """For one model, includes LiteLLM's price and says which versions are in force."""
    state = request.state
    at = state["now"]() if query.at is UNSET else query.at
    if query.model is not UNSET:
        if query.pattern is not UNSET:
            raise ValidationFailed([FieldError("pattern", "cannot be given together with model")])
        return await _of_model(state, query, query.model, at)
    if query.history:
        if query.bundled:
            raise ValidationFailed([FieldError("bundled", "cannot be given together with history")])
        reading = query.reading("price_id", query.order("price_id"))
        found = await state["prices"].slice(query.filter, reading.slice)
        return Answer(reading.page(found, [cost_view(version) for version in found.rows]))
    return await _of_models(state, query, at)


async def _of_models(state: State, query: CostQuery, at: datetime) -> Answer[Page[CostView]]:
    reading, prices = query.reading("model", query.order("model")), state["prices"]
    part = reading.slice
    models = await prices.models(query.filter, part)
    rows = rows_in(state["price_map"], query.filter, part) if query.bundled else {}
    page = sliced({**dict.fromkeys(models.rows), **rows}, part, by_id)
    if page.rest is None and models.rest is not None:
        page = msgspec.structs.replace(page, rest=models.rest)
    names = {name for model in page.rows for name in _names(model, rows.get(model))}
    versions = await prices.versions_of(names) if names else []
    page_models = set(page.rows)
    found = [
        version
        for version in versions_in_force([v for v in versions if v.model in page_models], at)
        if query.filter.matches(version)
    ]
    patterns = await prices.patterns() if rows else []
    for model in page_models.intersection(rows):
        row = rows[model]
        if find_price([*versions, *patterns], row.provider, routed_name(row), at) is None:
            found.append(row.price)
    found.sort(key=lambda version: (version.model, version.price_id), reverse=part.descending)
    return Answer(reading.page(page, [cost_view(version) for version in found]))


async def _of_model(
    state: State, query: CostQuery, model: str, at: datetime
) -> Answer[Page[CostView]]:
    row = mapped(state["price_map"], model)
    names = set(_names(model, row))
    versions = await _versions(state, model, row)
    in_force = _in_force(versions, row, model, at)
    versions = [v for v in versions if v.model in names or names.intersection(v.aliases)]
    versions += [row.price] if row is not None else []
    versions = [version for version in versions if query.filter.matches(version)]
    if not query.history:
        versions = [version for version in versions if version.price_id in in_force]
    reading = query.reading("price_id", query.order("effective_from", "-effective_from"))
    found = sliced(
        versions, reading.slice, lambda each: RowPlace(each.effective_from, each.price_id)
    )
    views = [cost_view(v, in_force=v.price_id in in_force) for v in found.rows]
    return Answer(reading.page(found, views))


def _names(model: str, row: MapModel | None) -> tuple[str, ...]:
    return (model,) if row is None else (model, *model_names(row.provider, routed_name(row)))


async def _versions(state: State, model: str, row: MapModel | None) -> list[PriceVersion]:
    return await state["prices"].versions_of(_names(model, row))


def _bundled_view(version: PriceVersion, row: MapModel | None) -> BundledView | None:
    if row is None or version.provider not in ("*", row.provider):
        return None
    changes = changes_of(differences(row.price, version))
    return BundledView(price_id=row.price.price_id, differences=changes)


async def announce_prices(state: State, versions: Iterable[PriceVersion]) -> dict[str, str]:
    """Invalidates every name of these versions and of the versions that they replace."""
    changed = list(versions)
    names = dict.fromkeys(name for v in changed for name in (v.model, *v.aliases))
    models = {version.model for version in changed}
    for earlier in await state["prices"].versions_of(models):
        if earlier.model in models:
            names.update(dict.fromkeys(earlier.aliases))
    if any(map(is_pattern, names)):
        names[PATTERNS] = None
    return await state["announcer"].announce("price", names)


def _in_force(
    versions: Sequence[PriceVersion], imported: MapModel | None, model: str, at: datetime
) -> set[str]:
    """The ids of the versions that a call made then would be priced by, one for each provider."""
    providers = {version.provider for version in versions} | {"*"}
    if imported is not None:
        providers.add(imported.provider)
    found: set[str] = set()
    for provider in providers:
        price = find_price(versions, provider, model, at)
        if price is not None:
            found.add(price.price_id)
        elif imported is not None and imported.provider == provider:
            found.add(imported.price.price_id)
    return found
