"""`GET /v1/models` and `/v1/models/{id}`: what the caller's key may use.

In Anthropic's shape for clients that send `anthropic-version`, in OpenAI's for all others.
"""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.access import check_account, check_key, may_use
from libs.common.domain.ids import secret_hash
from libs.common.errors import ModelNotFound, ModelUnpriced
from libs.common.web.json import json_response
from services.gateway.calls.credentials import secret_of
from services.gateway.calls.principal import Principal
from services.gateway.endpoints.parts import Parts

# Neither API tells when a model of another provider was made; clients only need the field.
_CREATED = 0
_CREATED_AT = "1970-01-01T00:00:00Z"


async def list_models(request: Request) -> Response:
    parts: Parts = request.state.parts
    principal, _ = await caller(request)
    names = [name for name in await parts.router.offered_models() if may_use(principal.key, name)]
    if "anthropic-version" not in request.headers:
        return json_response({"object": "list", "data": [_openai_model(name) for name in names]})
    return json_response(
        {
            "data": [_anthropic_model(name) for name in names],
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
    )


async def show_model(request: Request) -> Response:
    """Shows any model that may be called, listed or not; any other is a 404."""
    parts: Parts = request.state.parts
    principal, at = await caller(request)
    name = request.path_params["model"]
    if not may_use(principal.key, name):
        raise _not_found(name)
    plan = await parts.router.plan(name)
    try:
        await parts.directory.prices(plan.targets, at)
    except ModelUnpriced:
        raise _not_found(name) from None
    anthropic = "anthropic-version" in request.headers
    return json_response(_anthropic_model(name) if anthropic else _openai_model(name))


async def caller(request: Request) -> tuple[Principal, datetime]:
    """The caller and the time. Raises AppError if the caller may not make calls."""
    parts: Parts = request.state.parts
    principal = await parts.directory.principal(secret_hash(secret_of(request.scope["headers"])))
    at = datetime.fromtimestamp(parts.clock.now_ms() / 1000, UTC)
    refusal = check_key(principal.key, at) or check_account(principal.account)
    if refusal is not None:
        raise refusal
    return principal, at


def _not_found(name: str) -> ModelNotFound:
    return ModelNotFound(
        f"The model '{name}' does not exist, or this API key may not use it.", param="model"
    )


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "gateway"}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}
