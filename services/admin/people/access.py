"""Around every endpoint: whether the actor may call it."""

from services.admin.endpoints import Call, Next, Served
from services.admin.people.actor import actor_of, check_global, check_role


async def with_role(call: Call, following: Next) -> Served:
    """Raises Forbidden."""
    endpoint = call.endpoint
    if endpoint.role is not None:
        actor = actor_of(call.request)
        check_role(actor, endpoint.role)
        if not endpoint.scoped:
            check_global(actor)
    return await following(call)
