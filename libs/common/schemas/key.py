"""API keys: what a client authenticates with. The secret itself is never stored."""

from datetime import datetime
from typing import Literal

import msgspec

from libs.common.schemas.account import Budget, Limits
from libs.common.schemas.recording import RecordingTerms

KeyStatus = Literal["active", "revoked"]


class OldSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that another one replaced. It works until then."""

    prefix: str
    secret_hash: str
    until: datetime


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is the readable start of the secret; `allowed_models` None means every model.

    `budgets` and `limits` lie inside the account's own. `recording` None keeps nothing of what is
    said in its calls. `provider_objects` are those that it may name beyond its account's.
    `old_secrets` are those that rotations replaced, the oldest first.
    """

    key_id: str
    user_id: str
    name: str
    prefix: str
    secret_hash: str
    old_secrets: tuple[OldSecret, ...] = ()
    allowed_models: tuple[str, ...] | None = None
    provider_objects: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    limits: Limits = Limits()
    expires_at: datetime | None = None
    recording: RecordingTerms | None = None
    status: KeyStatus = "active"
    revision: str = ""
    created_by: str | None = None
    updated_by: str | None = None
    created_at: datetime
    updated_at: datetime
