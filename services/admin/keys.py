"""`/admin/keys`. A secret is shown once, when it is created; only its hash is stored.

A key may have a secret that was made elsewhere: its hash alone is told, and never shown.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.requests import Request

from libs.common.domain.ids import hash_prefix, new_secret, secret_hash, secret_prefix
from libs.common.domain.rotation import has_secret
from libs.common.errors import Conflict, NotFound
from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.slices import by_id, sliced
from services.admin.accounts import changed_fields, find_account
from services.admin.budgets import budgets_of, limits_of, merged_limits
from services.admin.clock import to_utc_ms
from services.admin.creations import Creation, creation_of
from services.admin.endpoints import Answer
from services.admin.fields import is_sha256
from services.admin.key_bodies import (
    KeyChanges,
    KeyQuery,
    KeyView,
    NewKey,
    NewKeyView,
    key_view,
    recording_terms,
)
from services.admin.pages import Page
from services.admin.people.actor import Actor, actor_of, check_role
from services.admin.revisions import changed, etag_of
from services.admin.spend import spend_of_keys
from services.admin.state import State


class _Secret(msgspec.Struct, frozen=True, kw_only=True):
    """`text` None was made elsewhere."""

    text: str | None
    hashed: str
    prefix: str


async def create_key(request: Request[State], body: NewKey) -> Answer[NewKeyView]:
    """With `key_sha256` it needs the role owner: clients go on with the secret that they have."""
    state = request.state
    now = state["now"]()
    account = await find_account(state, body.user_id)
    if account.status == "archived":
        message = f"The account '{body.user_id}' is archived: make it active first."
        raise Conflict(message, param="user_id")
    creation = creation_of(request)
    secret = _secret_of(body, creation, actor_of(request))
    key = ApiKey(
        key_id=f"key_{creation.new_id}",
        user_id=body.user_id,
        name="" if body.name is None else body.name,
        prefix=secret.prefix,
        secret_hash=secret.hashed,
        allowed_models=body.allowed_models,
        provider_objects=body.provider_objects,
        expires_at=None if body.expires_at is None else to_utc_ms(body.expires_at),
        budgets=budgets_of(body.budgets),
        limits=limits_of(body.limits),
        recording=recording_terms(body.recording),
        revision=state["new_id"](),
        created_by=actor_of(request).id,
        updated_by=actor_of(request).id,
        created_at=now,
        updated_at=now,
    )
    if secret.text is None:
        await _check_unused(request, key)
    if not await state["keys"].insert(key):
        await _check_unused(request, key)
        key = await _earlier_key(state, key)
    # A gateway may have cached the hash as unknown.
    headers = await announce_key(state, key)
    view = await view_with_secret(state, key, secret.text)
    return Answer(view, status=201, headers=etag_of(key) | headers)


def _secret_of(body: NewKey, creation: Creation, actor: Actor) -> _Secret:
    """Raises Forbidden."""
    if body.key_sha256 is None:
        text = new_secret(creation.entropy)
        return _Secret(text=text, hashed=secret_hash(text), prefix=secret_prefix(text))
    # The caller may know the secret of a hash, so no answer shows it.
    check_role(actor, "owner")
    hashed = body.key_sha256.lower()
    return _Secret(text=None, hashed=hashed, prefix=hash_prefix(hashed))


async def _check_unused(request: Request[State], key: ApiKey) -> None:
    """Raises Conflict where another key has the secret, or had it."""
    other = await request.state["keys"].get_by_hash(key.secret_hash)
    if other is None or other.key_id == key.key_id:
        return
    detail = f" '{other.key_id}'" if actor_of(request).reaches(other.user_id) else ""
    raise Conflict(f"The key{detail} has this secret, or had it.", param="key_sha256")


async def _earlier_key(state: State, key: ApiKey) -> ApiKey:
    """The key that an earlier attempt of this request made. Raises Conflict."""
    earlier = await state["keys"].get(key.key_id)
    if earlier is None or not has_secret(earlier, key.secret_hash):
        message = (
            f"This request made the key '{key.key_id}' before, and its secret cannot be shown: "
            "ADMIN_API_KEY is another one since then. POST /admin/keys/{api_key}/rotate gives it "
            "another secret."
        )
        raise Conflict(message)
    return earlier


async def list_keys(request: Request[State], query: KeyQuery) -> Answer[Page[KeyView]]:
    """In the order of their creation."""
    state = request.state
    now = state["now"]()
    user_id = None if query.user_id is UNSET else query.user_id
    if user_id is not None:
        await find_account(state, user_id)
    reading = query.reading("key_id", query.sort)
    if query.prefix is UNSET:
        found = await state["keys"].slice(
            reading.slice, user_id=user_id, keep=lambda key: query.wants(key, now)
        )
    else:
        alike = await state["keys"].with_prefix(query.prefix)
        matching = [key for key in alike if query.wants(key, now)]
        found = sliced(matching, reading.slice, lambda key: by_id(key.key_id))
    views = await views_of_keys(state, found.rows, totals=False)
    return Answer(reading.page(found, views))


async def show_key(request: Request[State]) -> Answer[KeyView]:
    key = await find_key(request)
    return Answer((await views_of_keys(request.state, [key]))[0], headers=etag_of(key))


async def change_key(request: Request[State], body: KeyChanges) -> Answer[KeyView]:
    changes = changed_fields(body)
    if changes.get("expires_at") is not None:
        changes["expires_at"] = to_utc_ms(changes["expires_at"])
    if "budgets" in changes:
        changes["budgets"] = msgspec.to_builtins(budgets_of(changes["budgets"]))
    if "recording" in changes:
        changes["recording"] = msgspec.to_builtins(recording_terms(changes["recording"]))
    return await _update(request, changes)


async def revoke_key(request: Request[State]) -> Answer[KeyView]:
    """The row stays, because entries of the ledger name it."""
    return await _update(request, {"status": "revoked"})


async def _update(request: Request[State], changes: dict[str, Any]) -> Answer[KeyView]:
    state = request.state
    now = state["now"]()

    async def change(before: ApiKey) -> ApiKey | None:
        if before.status == "revoked" and changes.get("status") == "active":
            message = "A revoked key stays revoked: create another one with POST /admin/keys."
            raise Conflict(message, param="status")
        fields = {**changes, "revision": state["new_id"](), "updated_by": actor_of(request).id}
        if "limits" in changes:
            limits = merged_limits(before.limits, changes["limits"])
            fields["limits"] = msgspec.to_builtins(limits)
        return await state["keys"].update(before.key_id, fields, now, revision=before.revision)

    key = await changed(request, lambda: find_key(request), change)
    headers = await announce_key(state, key)
    return Answer((await views_of_keys(state, [key]))[0], headers=etag_of(key) | headers)


async def find_key(request: Request[State]) -> ApiKey:
    """By its id, its secret or the secret's SHA-256. No message or log may repeat these two."""
    identifier: str = request.path_params["api_key"]
    keys = request.state["keys"]
    key = await keys.get(identifier) or await keys.get_by_hash(secret_hash(identifier))
    if key is None and is_sha256(identifier):
        key = await keys.get_by_hash(identifier.lower())
    if key is None:
        raise unknown_key()
    return key


def unknown_key() -> NotFound:
    return NotFound("There is no key with this id, secret or SHA-256 of a secret.", param="api_key")


async def announce_key(state: State, *copies: ApiKey) -> dict[str, str]:
    """Invalidates the key by its secrets, and by those that it had before the change."""
    hashes = {key.secret_hash: None for key in copies}
    hashes |= {old.secret_hash: None for key in copies for old in key.old_secrets}
    return await state["announcer"].announce("key", hashes)


async def view_with_secret(state: State, key: ApiKey, secret: str | None) -> NewKeyView:
    (view,) = await views_of_keys(state, [key])
    return NewKeyView(**msgspec.structs.asdict(view), api_key=secret)


async def views_of_keys(
    state: State, keys: Sequence[ApiKey], *, totals: bool = True
) -> list[KeyView]:
    spends = await spend_of_keys(state, keys, totals=totals)
    now = state["now"]()
    return [key_view(key, spend, now) for key, spend in zip(keys, spends, strict=True)]
