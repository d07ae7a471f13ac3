"""`/admin/costs/import`: stores LiteLLM's prices as versions.

Without an import the bundled map applies as it is, and its prices change with its release.
Imported versions stay until the next import; an administrator's price takes precedence.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import plain
from libs.common.domain.price_lookup import find_price, model_names, versions_in_force
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.price import AT_COST, PriceVersion
from libs.common.storage.prices.price_map import MapModel, PriceMap
from libs.common.web.json import json_response
from services.admin.clock import to_utc_ms
from services.admin.cost_bodies import terms_view
from services.admin.costs import mapped
from services.admin.fields import Model, Multiplier, Provider, Time
from services.admin.state import State
from services.admin.validation import read_optional_struct

# `new`: no stored version is in force. `kept`: the administrator's price takes precedence.
Change = Literal["new", "changed", "same", "kept"]
_FEW = 20
_PAGE = 500
# Versions stored by one command, which has seconds.
_MAX_INSERTS = 100


class ImportBody(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, or what one provider serves, or one model. `multiplier` marks all of it up."""

    provider: Provider | None = None
    model: Model | None = None
    multiplier: Multiplier = AT_COST
    effective_from: Time | None = None
    dry_run: bool = False


class _Row(msgspec.Struct, frozen=True):
    """A model of the map, the version that its import creates and the price in force without it."""

    change: Change
    version: PriceVersion
    in_force: PriceVersion


async def import_costs(request: Request[State]) -> Response:
    """Idempotent: stores `new` and `changed` prices only."""
    state = request.state
    now = state["now"]()
    body = await read_optional_struct(request, ImportBody, now)
    at = now if body.effective_from is None else to_utc_ms(body.effective_from)
    chosen = list(_chosen(state["price_map"], body))
    if not chosen:
        raise NotFound("LiteLLM's price map has no such model with a price.", param=_named(body))
    rows = await _rows(state, chosen, body, at, now)
    headers: dict[str, str] = {}
    if not body.dry_run:
        imported = [row.version for row in rows if row.change in ("new", "changed")]
        headers = await _insert(state, imported)
    counts = Counter(row.change for row in rows)
    answer = {
        "dry_run": body.dry_run,
        "models": len(rows),
        **{change: counts[change] for change in ("new", "changed", "same", "kept")},
        "changes": [_change_view(row, body.dry_run) for row in rows if row.change != "same"],
    }
    return json_response(answer, status=200 if body.dry_run else 201, headers=headers)


async def _insert(state: State, versions: Sequence[PriceVersion]) -> dict[str, str]:
    """Announces each stored batch, even if MongoDB fails later. Imported prices have no alias."""
    headers: dict[str, str] = {}
    for start in range(0, len(versions), _MAX_INSERTS):
        batch = versions[start : start + _MAX_INSERTS]
        await state["prices"].insert_many(batch)
        names = [version.model for version in batch]
        headers |= await state["announcer"].announce("price", names)
    return headers


def _chosen(price_map: PriceMap, body: ImportBody) -> Iterator[MapModel]:
    if body.provider == "*":
        raise ValidationFailed([FieldError("provider", "must be one provider; leave out for all")])
    names = price_map.names() if body.model is None else (body.model,)
    for name in names:
        found = price_map.get(name) if body.model is None else mapped(price_map, name)
        if found is not None and found.provider and body.provider in (None, found.provider):
            yield found


def _named(body: ImportBody) -> str:
    return "provider" if body.model is None else "model"


async def _rows(
    state: State, chosen: Sequence[MapModel], body: ImportBody, at: datetime, now: datetime
) -> list[_Row]:
    stored = _Stored(await _versions(state, chosen))
    rows: list[_Row] = []
    for model in chosen:
        found = stored.price_of(model, at)
        version = msgspec.structs.replace(
            model.price,
            price_id=f"price_{state['new_id']()}",
            effective_from=at,
            multiplier=plain(body.multiplier),
            created_at=now,
        )
        in_force = model.price if found is None else found
        rows.append(_Row(_change(found, version), version, in_force))
    return rows


async def _versions(state: State, chosen: Sequence[MapModel]) -> list[PriceVersion]:
    """A superset of the versions that may price the models: reading all beats many names."""
    prices = state["prices"]
    if len(chosen) <= _FEW:
        names = {name for model in chosen for name in model_names(model.provider, _routed(model))}
        return await prices.versions_of(names)
    versions: list[PriceVersion] = []
    while True:
        after = versions[-1].price_id if versions else None
        page = await prices.list(after=after, limit=_PAGE)
        versions += page
        if len(page) < _PAGE:
            return versions


class _Stored:
    """Versions by name, since a scan of all versions for each model is too slow."""

    def __init__(self, versions: Sequence[PriceVersion]) -> None:
        self._of_model: defaultdict[str, list[PriceVersion]] = defaultdict(list)
        self._models_of: defaultdict[str, set[str]] = defaultdict(set)
        for version in versions:
            self._of_model[version.model].append(version)
            for name in (version.model, *version.aliases):
                self._models_of[name].add(version.model)

    def price_of(self, model: MapModel, at: datetime) -> PriceVersion | None:
        """What an administrator set, else what was imported from this very row.

        The map may have another row for the same model, by its bare or its qualified name.
        """
        names = model_names(model.provider, _routed(model))
        models = {found for name in names for found in self._models_of[name]}
        versions = [version for name in models for version in self._of_model[name]]
        own = [version for version in versions if version.source == "admin"]
        price = find_price(own, model.provider, _routed(model), at)
        if price is not None:
            return price
        imported = [v for v in self._of_model[model.price.model] if v.source == "litellm"]
        return next(
            (v for v in versions_in_force(imported, at) if v.provider == model.provider), None
        )


def _routed(model: MapModel) -> str:
    """What the model is called at its provider."""
    return model.price.model.removeprefix(f"{model.provider}/")


def _change(found: PriceVersion | None, version: PriceVersion) -> Change:
    if found is None:
        return "new"
    if found.source == "admin":
        return "kept"
    return "changed" if _differences(found, version) else "same"


def _change_view(row: _Row, dry_run: bool) -> dict[str, Any]:
    """`differences` are from what is in force to what LiteLLM's map says."""
    imported = row.change in ("new", "changed") and not dry_run
    return {
        "model": row.version.model,
        "provider": row.version.provider,
        "change": row.change,
        "price_id": row.version.price_id if imported else None,
        "in_force": {"price_id": row.in_force.price_id, "source": row.in_force.source},
        "differences": _differences(row.in_force, row.version),
    }


def _differences(found: PriceVersion, version: PriceVersion) -> dict[str, Any]:
    old, new = terms_view(found), terms_view(version)
    return {
        name: {"from": old[name], "to": value} for name, value in new.items() if old[name] != value
    }
