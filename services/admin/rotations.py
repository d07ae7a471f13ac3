"""`POST /admin/keys/{api_key}/rotate`: another secret for a key, which stays the same otherwise.

The old secret works until the grace ends. Whoever loses the answer rotates again: no secret that
clients hold ends earlier for that, unless the grace is made shorter.
"""

from datetime import timedelta
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from libs.common.domain.ids import new_secret, secret_hash, secret_prefix
from libs.common.domain.rotation import MAX_OLD_SECRETS, has_secret, old_secrets_after
from libs.common.errors import Conflict
from libs.common.schemas.key import ApiKey
from services.admin.clock import to_utc_ms
from services.admin.creations import creation_of
from services.admin.endpoints import Answer
from services.admin.key_bodies import NewKeyView
from services.admin.keys import announce_key, find_key, view_with_secret
from services.admin.people.actor import actor_of
from services.admin.revisions import changed, etag_of
from services.admin.state import State

_DAY_S = 86_400
_MAX_GRACE_S = 90 * _DAY_S


class RotationBody(msgspec.Struct, frozen=True, kw_only=True):
    """How long the secrets before the new one work, at most; 0 ends all of them at once."""

    grace_s: Annotated[int, Meta(ge=0, le=_MAX_GRACE_S)] = _DAY_S


async def rotate_key(request: Request[State], body: RotationBody) -> Answer[NewKeyView]:
    state = request.state
    now = state["now"]()
    secret = new_secret(creation_of(request).entropy)
    until = to_utc_ms(now + timedelta(seconds=body.grace_s))
    keys_before: list[ApiKey] = []

    async def change(before: ApiKey) -> ApiKey | None:
        keys_before.append(before)
        if has_secret(before, secret_hash(secret)):
            # An earlier attempt of this request set it before its process died.
            return before
        if before.status == "revoked":
            message = "A revoked key stays revoked: create another one with POST /admin/keys."
            raise Conflict(message, param="api_key")
        if before.expires_at is not None and before.expires_at <= now:
            message = "The key has expired: change its expires_at first."
            raise Conflict(message, param="api_key")
        old_secrets = old_secrets_after(before, until, now)
        if old_secrets is None:
            message = (
                f"{MAX_OLD_SECRETS} old secrets of this key work already. Wait until the first of "
                "its old_secrets ends, or end all of them with a grace_s of 0."
            )
            raise Conflict(message, param="api_key")
        fields = {
            "prefix": secret_prefix(secret),
            "secret_hash": secret_hash(secret),
            "old_secrets": msgspec.to_builtins(old_secrets, builtin_types=(type(now),)),
            "revision": state["new_id"](),
            "updated_by": actor_of(request).id,
        }
        return await state["keys"].update(before.key_id, fields, now, revision=before.revision)

    key = await changed(request, lambda: find_key(request), change)
    headers = await announce_key(state, keys_before[-1], key)
    view = await view_with_secret(state, key, secret)
    return Answer(view, headers=etag_of(key) | headers)
