"""`/admin/costs`: what models cost. A version never changes; a newer one replaces it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.price_lookup import (
    PATTERNS,
    find_price,
    is_pattern,
    model_names,
    versions_in_force,
)
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.price import PriceVersion
from libs.common.storage.prices.price_map import MapModel, PriceMap
from libs.common.web.json import json_response
from services.admin.clock import to_utc_ms
from services.admin.cost_bodies import NewCost, cost_view, version_of
from services.admin.fields import Model, Time
from services.admin.pages import PageQuery
from services.admin.state import State
from services.admin.validation import query_struct, read_struct


class CostQuery(PageQuery, frozen=True, kw_only=True):
    """`history` shows every version, else those in force `at` that time. A page of all models has
    `limit` of them, whatever the number of their prices."""

    model: Model | UnsetType = UNSET
    history: bool = False
    at: Time | UnsetType = UNSET


class EndQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Without `at`, a version ends now."""

    at: Time | UnsetType = UNSET


async def create_cost(request: Request[State]) -> Response:
    state = request.state
    now = state["now"]()
    body = await read_struct(request, NewCost, now)
    if body.model in body.aliases:
        raise ValidationFailed([FieldError("aliases", "repeats the model's own name")])
    version = version_of(body, f"price_{state['new_id']()}", now)
    await state["prices"].insert(version)
    headers = await announce_prices(state, [version])
    return json_response(cost_view(version), status=201, headers=headers)


async def end_cost(request: Request[State]) -> Response:
    """The version applies until `at`; entries that it priced stay as they are.

    Afterwards the earlier version does not apply again. The price is the one that the model would
    have without any version from this source.
    """
    state, price_id = request.state, request.path_params["price_id"]
    now = state["now"]()
    query = query_struct(request, EndQuery, now)
    until = now if query.at is UNSET else to_utc_ms(query.at)
    if until < now:
        message = "must not be in the past: calls since then are already priced"
        raise ValidationFailed([FieldError("at", message)])
    version = await state["prices"].get(price_id)
    if version is not None:
        # A version that has not started yet never will.
        until = max(until, version.effective_from)
        version = await state["prices"].end(price_id, until)
    if version is None:
        raise NotFound(
            f"There is no price '{price_id[:128]}'. A price of LiteLLM's bundled map cannot be "
            "ended: set another one with POST /admin/costs.",
            param="price_id",
        )
    headers = await announce_prices(state, [version])
    return json_response(cost_view(version), headers=headers)


async def list_costs(request: Request[State]) -> Response:
    """For one model, includes LiteLLM's price and says which versions are in force."""
    state = request.state
    now = state["now"]()
    query = query_struct(request, CostQuery, now)
    at = now if query.at is UNSET else query.at
    if query.model is not UNSET:
        return await _of_model(state, query, query.model, at)
    prices = state["prices"]
    if query.history:
        fetched = await prices.list(after=query.after, limit=query.fetch)
        views = [cost_view(version) for version in query.page(fetched)]
        return json_response(query.answer(fetched, views, "price_id"))
    models = await prices.models(after=query.after, limit=query.fetch)
    page = query.page(models)
    named = set(page)
    versions = [v for v in await prices.versions_of(page) if v.model in named] if page else []
    in_force = sorted(versions_in_force(versions, at), key=lambda v: (v.model, v.price_id))
    cursor = page[-1] if len(models) > len(page) else None
    return json_response({"data": [cost_view(v) for v in in_force], "next_cursor": cursor})


async def _of_model(state: State, query: CostQuery, model: str, at: datetime) -> Response:
    imported = mapped(state["price_map"], model)
    names = {model}
    if imported is not None:
        names.update(model_names(imported.provider, model))
    versions = await state["prices"].versions_of(names)
    in_force = _in_force(versions, imported, model, at)
    versions = [v for v in versions if v.model in names or names.intersection(v.aliases)]
    versions += [imported.price] if imported is not None else []
    if not query.history:
        versions = [version for version in versions if version.price_id in in_force]
    fetched = _after(versions, query.after)[: query.fetch]
    views = [{**cost_view(v), "in_force": v.price_id in in_force} for v in query.page(fetched)]
    return json_response(query.answer(fetched, views, "price_id"))


def mapped(price_map: PriceMap, model: str) -> MapModel | None:
    """LiteLLM's price, by the map's own name of the model or one qualified by its provider."""
    found = price_map.get(model)
    if found is None and "/" in model:
        provider, _, name = model.partition("/")
        found = price_map.find(provider, name)
    return found


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


def _after(versions: list[PriceVersion], price_id: str | None) -> list[PriceVersion]:
    """The versions after the named one; all versions if it is not among them."""
    for place, version in enumerate(versions):
        if version.price_id == price_id:
            return versions[place + 1 :]
    return versions
