"""Checks, around every endpoint, whether the actor may call it."""

from services.admin.endpoints import EndpointCall, Next, Served
from services.admin.people.actor import actor_of, check_global, check_role


async def with_role(call: EndpointCall, following: Next) -> Served:
    """Raises Forbidden, and NotFound for what is beyond the actor's accounts."""
    endpoint = call.endpoint
    if endpoint.role is not None:
        actor = actor_of(call.request)
        check_role(actor, endpoint.role)
        if endpoint.scope is None:
            check_global(actor)
        elif actor.accounts is not None:
            await endpoint.scope(call, actor)
    return await following(call)
