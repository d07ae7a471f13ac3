"""Makes the ids and secrets of new objects.

A request that is repeated with its `Idempotency-Key` after its process died makes the same again:
what it made the first time is found by its id, and nothing is made twice.
"""

import hmac
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request

from libs.common.domain.ids import uuid7
from services.admin.state import State

_SCOPE = "creation"
_MS = 1000
SECRET_BYTES = 32


class Creation(msgspec.Struct, frozen=True):
    """`new_id` is a UUIDv7, for one object; `entropy` 32 bytes, for one secret."""

    new_id: str
    entropy: bytes


def repeatable(key: bytes, seed: bytes, began_at: datetime) -> Creation:
    """The same for the same arguments. The entropy cannot be derived without the key."""
    return Creation(
        uuid7(int(began_at.timestamp() * _MS), hmac.digest(seed, b"id", "sha256")[:10]),
        hmac.digest(key, b"secret " + seed, "sha256"),
    )


def set_creation(request: Request[Any], creation: Creation) -> None:
    request.scope[_SCOPE] = creation


def creation_of(request: Request[State]) -> Creation:
    """For the one object that the request makes."""
    creation = request.scope.get(_SCOPE)
    if isinstance(creation, Creation):
        return creation
    return Creation(request.state["new_id"](), request.state["entropy"](SECRET_BYTES))
