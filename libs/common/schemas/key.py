"""API keys: what a client authenticates with. The secret itself is never stored."""

from datetime import datetime
from typing import Literal

import msgspec

KeyStatus = Literal["active", "revoked"]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """`prefix` is the readable start of the secret; `allowed_models` None means every model."""

    key_id: str
    user_id: str
    name: str
    prefix: str
    secret_hash: str
    allowed_models: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    status: KeyStatus = "active"
    created_at: datetime
    updated_at: datetime
