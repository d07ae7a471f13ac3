"""`/admin/models`: routes, from the names that clients send to the deployments that serve them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec
import structlog
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import plain_amount
from libs.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from libs.common.schemas.route import Deployment, Route, Timeouts
from libs.common.storage.redis.client import RedisError
from services.admin.accounts import changed_fields
from services.admin.creations import creation_of
from services.admin.endpoints import Answer
from services.admin.fields import SearchText
from services.admin.model_bodies import (
    DeploymentBody,
    DeploymentView,
    NewRoute,
    RouteChanges,
    RouteView,
)
from services.admin.pages import Page, PageQuery, found_in
from services.admin.revisions import changed, etag_of
from services.admin.route_references import check_references
from services.admin.state import State

log = structlog.get_logger(__name__)


class _Cooling(NamedTuple):
    """Of a deployment; without an end it does not cool down."""

    until: datetime | None = None
    reason: str | None = None


_WARM = _Cooling()


class RouteQuery(PageQuery, frozen=True, kw_only=True):
    """`q` is part of the route's name, or of a deployment's model."""

    q: SearchText | UnsetType = UNSET
    sort: Literal["model", "-model"] = "model"

    def wants(self, route: Route) -> bool:
        return found_in(self.q, route.model, *(each.model for each in route.deployments))


async def create_model(request: Request[State], body: NewRoute) -> Answer[RouteView]:
    state = request.state
    fields = {name: getattr(body, name) for name in NewRoute.__struct_fields__}
    fields["deployments"] = _build(state, body.deployments, known=())
    route = Route(**fields, revision=creation_of(request).new_id)
    _check(route)
    await check_references(state, route, None)
    if not await state["routes"].insert(route):
        before = await state["routes"].get(route.model)
        if before is None or before.revision != route.revision:
            raise Conflict(f"The model '{route.model}' already has a route.", param="model")
        # An earlier attempt of this request made it before its process died.
        route = before
    return await _answer(state, route)


async def list_models(request: Request[State], query: RouteQuery) -> Answer[Page[RouteView]]:
    state = request.state
    reading = query.reading("model", query.sort)
    found = await state["routes"].slice(reading.slice, keep=query.wants)
    cooling = await _cooling(state, found.rows)
    return Answer(reading.page(found, [_view(route, cooling) for route in found.rows]))


async def show_model(request: Request[State]) -> Answer[RouteView]:
    route = await find_route(request)
    view = _view(route, await _cooling(request.state, [route]))
    return Answer(view, headers=etag_of(route))


async def change_model(request: Request[State], body: RouteChanges) -> Answer[RouteView]:
    state = request.state
    changes = changed_fields(body)

    async def change(before: Route) -> Route | None:
        fields = {**changes, "revision": state["new_id"]()}
        if "deployments" in changes:
            known = [deployment.deployment_id for deployment in before.deployments]
            fields["deployments"] = _build(state, changes["deployments"], known=known)
        after = msgspec.structs.replace(before, **fields)
        _check(after)
        await check_references(state, after, before)
        stored = msgspec.to_builtins(fields)
        return await state["routes"].update(before.model, stored, revision=before.revision)

    route = await changed(request, lambda: find_route(request), change)
    return await _answer(state, route)


async def delete_model(request: Request[State]) -> Answer[None]:
    """The gateway then routes the name as one without a route."""
    state, model = request.state, request.path_params["name"]

    async def delete(before: Route) -> Route | None:
        deleted = await state["routes"].delete(model, revision=before.revision)
        return before if deleted else None

    await changed(request, lambda: find_route(request), delete)
    headers = await state["announcer"].announce("route", [model])
    return Answer(None, headers=headers)


async def find_route(request: Request[State]) -> Route:
    """The route that the path names. Raises NotFound."""
    model: str = request.path_params["name"]
    route = await request.state["routes"].get(model)
    if route is None:
        raise _unknown_route(model)
    return route


def _unknown_route(model: str) -> NotFound:
    return NotFound(f"There is no route for the model '{model[:128]}'.", param="name")


def _build(
    state: State, bodies: Sequence[DeploymentBody], *, known: Sequence[str]
) -> tuple[Deployment, ...]:
    """Assigns an id to each deployment without one. Raises ValidationFailed."""
    problems: list[FieldError] = []
    seen: set[str] = set()
    for place, body in enumerate(bodies):
        path = f"deployments[{place}]"
        if body.formats is not None and body.api_base is None:
            problems.append(FieldError(f"{path}.formats", "needs an api_base that speaks them"))
        if body.deployment_id is None:
            continue
        if body.deployment_id not in known:
            message = "is not a deployment of this route; omit it and one is assigned"
            problems.append(FieldError(f"{path}.deployment_id", message))
        elif body.deployment_id in seen:
            problems.append(FieldError(f"{path}.deployment_id", "is given to two deployments"))
        seen.add(body.deployment_id)
    if problems:
        raise ValidationFailed(problems)
    return tuple(_deployment(body, f"dep_{state['new_id']()}") for body in bodies)


def _deployment(body: DeploymentBody, new_id: str) -> Deployment:
    fields = msgspec.structs.asdict(body)
    timeouts = {} if body.timeouts is None else msgspec.structs.asdict(body.timeouts)
    fields |= {
        "deployment_id": body.deployment_id or new_id,
        "timeouts": Timeouts(**timeouts),
        "multiplier": plain_amount(body.multiplier),
    }
    return Deployment(**fields)


def _check(route: Route) -> None:
    """Checks rules that span fields. Raises ValidationFailed."""
    problems = [
        FieldError(field, "must not name the route itself")
        for field in ("fallbacks", "context_fallbacks")
        if route.model in getattr(route, field)
    ]
    if route.max_attempts == 1 and (route.fallbacks or route.context_fallbacks):
        problems.append(
            FieldError("max_attempts", "must be at least 2, or fallbacks are never tried")
        )
    if problems:
        raise ValidationFailed(problems)


async def _answer(state: State, route: Route) -> Answer[RouteView]:
    headers = await state["announcer"].announce("route", [route.model])
    view = _view(route, await _cooling(state, [route]))
    return Answer(view, headers=etag_of(route) | headers)


async def _cooling(state: State, routes: Sequence[Route]) -> Mapping[str, _Cooling]:
    """By deployment of these routes; empty while Redis is unavailable."""
    store = state["cooldowns"]
    try:
        active = await store.active(now_s=state["now"]().timestamp())
        ids = {each.deployment_id for route in routes for each in route.deployments}
        reasons = await store.reasons(sorted(ids & active.keys()))
    except (RedisError, OSError) as error:
        log.warning("cooldowns.unavailable", error=error)
        return {}
    return {
        deployment_id: _Cooling(
            datetime.fromtimestamp(int(active[deployment_id]), UTC), reasons.get(deployment_id)
        )
        for deployment_id in ids & active.keys()
    }


def _view(route: Route, cooling: Mapping[str, _Cooling]) -> RouteView:
    fields: dict[str, Any] = msgspec.structs.asdict(route)
    del fields["revision"]
    fields["deployments"] = tuple(
        DeploymentView(
            **msgspec.structs.asdict(deployment),
            cooling_until=cooldown.until,
            cooling_reason=cooldown.reason,
        )
        for deployment in route.deployments
        for cooldown in [cooling.get(deployment.deployment_id, _WARM)]
    )
    return RouteView(**fields)
