"""Responses that the provider keeps belong to the account that made them.

All accounts share the provider's key, so the provider would hand out anybody's conversation to
whoever names it: the gateway asks its own books first.
"""

import msgspec

from libs.common.errors import NotFound, Unavailable
from libs.common.storage.mongo import PyMongoError
from libs.common.storage.responses import KeptResponse, ResponseStore
from services.gateway.directory import Principal
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.router import Plan


async def continued(
    responses: ResponseStore, principal: Principal, request: CallRequest, plan: Plan
) -> Plan:
    """The plan, left to the deployment that keeps the response which the request goes on from.

    Raises NotFound where the account has no such response.
    """
    if request.previous_response_id is None:
        return plan
    kept = await kept_response(
        responses, principal, request.previous_response_id, param="previous_response_id"
    )
    keepers = tuple(t for t in plan.targets if t.deployment_id == kept.deployment)
    if not keepers:
        # Another model: whether it is served from the same place only the provider knows.
        return plan
    return msgspec.structs.replace(plan, targets=keepers, context_targets=())


async def kept_response(
    responses: ResponseStore, principal: Principal, response_id: str, *, param: str | None = None
) -> KeptResponse:
    """Raises NotFound, or Unavailable where nobody can tell."""
    try:
        kept = await responses.find(principal.account.user_id, response_id)
    except PyMongoError as error:
        raise Unavailable("The gateway cannot read whose response this is. Try again.") from error
    if kept is None:
        raise NotFound(f"Response with id '{response_id[:256]}' not found.", param=param)
    return kept
