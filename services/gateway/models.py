"""`GET /v1/models`: what the caller's key may use, in OpenAI's or in Anthropic's shape."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.access import check_account, check_key, may_use
from libs.common.domain.ids import secret_hash
from libs.common.web.json import json_response
from services.gateway.auth import secret_of
from services.gateway.call import Call
from services.gateway.formats import CHAT
from services.gateway.proxy import Gateway

# Neither API tells when a model of another provider was made; clients only need the field.
_CREATED = 0
_CREATED_AT = "1970-01-01T00:00:00Z"


async def list_models(request: Request) -> Response:
    """Anthropic's clients send `anthropic-version`; all others get OpenAI's shape."""
    gateway: Gateway = request.state.gateway
    principal = await gateway.directory.principal(secret_hash(secret_of(request.scope["headers"])))
    now = Call(CHAT, now_ms=gateway.clock.now_ms()).started_at
    refusal = check_key(principal.key, now) or check_account(principal.account)
    if refusal is not None:
        raise refusal
    names = [name for name in await gateway.router.offered() if may_use(principal.key, name)]
    if "anthropic-version" in request.headers:
        return json_response(_anthropic_list(names))
    return json_response(
        {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": _CREATED, "owned_by": "gateway"}
                for name in names
            ],
        }
    )


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    return {
        "data": [
            {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}
            for name in names
        ],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
