"""Checks that a route's provider, price and fallbacks exist.

Checks only what a request adds: earlier references may stay, so that a route whose price has
ended can still be changed.
"""

import asyncio
from collections.abc import Sequence

from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.route import NATIVE_PROVIDERS, Deployment, Route
from services.admin.bundled_prices import mapped
from services.admin.state import State


async def check_references(state: State, route: Route, before: Route | None) -> None:
    """Raises ValidationFailed with every problem."""
    deployments, fallbacks = await asyncio.gather(
        _deployment_problems(state, route, before), _fallback_problems(state, route, before)
    )
    if deployments or fallbacks:
        raise ValidationFailed([*deployments, *fallbacks])


async def _deployment_problems(
    state: State, route: Route, before: Route | None
) -> Sequence[FieldError]:
    known = {} if before is None else {each.deployment_id: each for each in before.deployments}
    new = [
        (place, each)
        for place, each in enumerate(route.deployments)
        if each.deployment_id not in known or _names(known[each.deployment_id]) != _names(each)
    ]
    price_at = await state["price_book"].of_models([_price_key(each) for _, each in new])
    problems: list[FieldError] = []
    for place, each in new:
        provider, model = _price_key(each)
        if not _is_known(state, provider, each):
            message = (
                f"names the provider '{provider}', which is not known: an endpoint of your own "
                "needs an api_base and its formats"
            )
            problems.append(FieldError(f"deployments[{place}].model", message))
        elif price_at((provider, model), state["now"]()) is None:
            field = "model" if each.priced_as is None else "priced_as"
            message = (
                f"has no price, so '{provider}/{model}' cannot be called: set one with POST "
                "/admin/costs first; 0 makes it free"
            )
            problems.append(FieldError(f"deployments[{place}].{field}", message))
    return problems


def _names(deployment: Deployment) -> tuple[object, ...]:
    return (
        deployment.model,
        deployment.priced_as,
        deployment.api_base is None,
        deployment.formats is None,
    )


def _price_key(deployment: Deployment) -> tuple[str, str]:
    provider, _, model = deployment.model.partition("/")
    return provider, deployment.priced_as or model


def _is_known(state: State, provider: str, deployment: Deployment) -> bool:
    if deployment.api_base is not None and deployment.formats is not None:
        return True
    return provider in NATIVE_PROVIDERS or provider in state["price_map"].providers


async def _fallback_problems(
    state: State, route: Route, before: Route | None
) -> Sequence[FieldError]:
    problems: list[FieldError] = []
    for field in ("fallbacks", "context_fallbacks"):
        known = () if before is None else getattr(before, field)
        for place, name in enumerate(getattr(route, field)):
            if name not in known and not await _is_served(state, name):
                message = f"'{name}' is neither a route nor a model with a price"
                problems.append(FieldError(f"{field}[{place}]", message))
    return problems


async def _is_served(state: State, name: str) -> bool:
    """Whether the gateway can resolve and price the name."""
    if await state["routes"].get(name) is not None or mapped(state["price_map"], name) is not None:
        return True
    provider, slash, model = name.partition("/")
    if not slash:
        return bool(await state["prices"].versions_of([name]))
    price_at = await state["price_book"].of_models([(provider, model)])
    return price_at((provider, model), state["now"]()) is not None
