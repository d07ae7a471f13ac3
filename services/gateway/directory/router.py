"""Plans a call: resolves the client's model name to the deployments that may serve it."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from libs.common.cache import Loaded
from libs.common.domain.route_tests import PIN_HEADER
from libs.common.errors import ModelNotFound, Unavailable
from libs.common.schemas.route import Deployment, Route
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.mongo.routes import RouteStore
from services.gateway.calls.headers import Headers
from services.gateway.calls.target import Plan, Target
from services.gateway.directory.caches import DATABASE_AWAY, Caches
from services.gateway.directory.providers import ModelDirectory
from services.gateway.directory.regions import region_of
from services.gateway.settings import Settings

_MAX_LISTED = 1_000
# A model without a route has one deployment, and one retry.
_UNROUTED = Route(model="", deployments=(), max_attempts=2)


def pinned_plan(plan: Plan, headers: Headers) -> Plan:
    """Plans one try at the deployment that a test of the route names.

    Raises ModelNotFound if the route lacks the deployment.
    """
    names = [value.decode("latin-1") for name, value in headers if name == PIN_HEADER]
    if not names:
        return plan
    for target in plan.targets + plan.context_targets:
        if target.deployment_id == names[0]:
            route = msgspec.structs.replace(plan.route, max_attempts=1)
            return Plan(route=route, targets=(target,))
    raise ModelNotFound(
        f"The model '{plan.route.model}' does not have this deployment.", param="model"
    )


class Router:
    """Routes come from MongoDB through caches; other names are resolved by ModelDirectory."""

    def __init__(
        self, database: Database, models: ModelDirectory, caches: Caches, settings: Settings
    ) -> None:
        self._routes = RouteStore(database)
        self._models = models
        self._allow_unrouted = settings.allow_unrouted_models
        self._shared_routes = caches.in_redis("route", Route)
        self._plans = caches.in_memory("route", self._load)

    async def plan(self, model: str) -> Plan:
        """Raises ModelNotFound, or Unavailable if routes cannot be read."""
        try:
            plan = await self._plans.get(model)
        except DATABASE_AWAY as error:
            raise Unavailable("The gateway cannot read its routes. Try again.") from error
        if plan is None:
            raise ModelNotFound(
                f"The model '{model}' is unknown. GET /v1/models lists the models"
                + (", and 'provider/model' names any other." if self._allow_unrouted else "."),
                param="model",
            )
        return plan

    async def offered_models(self) -> list[str]:
        """Names of routes, and of unrouted models if those are allowed."""
        try:
            routes = await self._routes.list(after=None, limit=_MAX_LISTED)
        except PyMongoError as error:
            raise Unavailable("The gateway cannot read its routes. Try again.") from error
        unrouted = self._models.offered_models() if self._allow_unrouted else ()
        return sorted({route.model for route in routes} | set(unrouted))

    def invalidate_all(self) -> None:
        """A changed route drops all plans, because plans include fallback routes."""
        self._plans.clear()

    async def _load(self, model: str) -> Plan | Loaded[Plan] | None:
        found = await self._shared_routes.get(model, self._routes.get)
        if found is None:
            target = self._models.resolve(model) if self._allow_unrouted else None
            return None if target is None else Plan(route=_UNROUTED, targets=(target,))
        route = found.value
        targets, for_s = await self._targets(route, [model, *route.fallbacks], {model: found})
        context_targets, context_for_s = await self._targets(route, route.context_fallbacks, {})
        plan = Plan(route=route, targets=targets, context_targets=context_targets)
        return Loaded(plan, min(for_s, context_for_s))

    async def _targets(
        self, route: Route, names: Sequence[str], loaded_routes: Mapping[str, Loaded[Route]]
    ) -> tuple[tuple[Target, ...], float]:
        """The deployments of the routes, ranked in their order, and how many seconds to cache them.

        They answer under the model name that `route` states. Fallbacks of fallbacks are left out.
        """
        targets: list[Target] = []
        for_s = inf
        for position, name in enumerate(names):
            found = loaded_routes.get(name) or await self._shared_routes.get(name, self._routes.get)
            if found is not None:
                for_s = min(for_s, found.for_s)
                deployments = found.value.deployments
                targets += (self._target(deployment, position) for deployment in deployments)
            elif (target := self._models.resolve(name)) is not None:
                targets.append(msgspec.structs.replace(target, rank=(position, 0)))
        answers_as = {"answer_model": route.answer_model}
        return tuple(msgspec.structs.replace(target, **answers_as) for target in targets), for_s

    def _target(self, deployment: Deployment, position: int) -> Target:
        target = self._models.deployment_target(deployment)
        changes: dict[str, Any] = {
            "deployment_id": deployment.deployment_id,
            "rank": (position, deployment.priority),
            "weight": deployment.weight,
            "max_parallel": deployment.max_parallel,
            "timeouts": deployment.timeouts,
            "drop_params": deployment.drop_params,
            "credential": deployment.credential,
            "profile": deployment.profile,
            "translation": deployment.translation,
            "multiplier": deployment.multiplier,
            "priced_as": deployment.priced_as,
            "region": deployment.region or region_of(target.base_url),
        }
        return msgspec.structs.replace(target, **changes)
