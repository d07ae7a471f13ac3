"""Makes identifiers and secrets; time and random bytes are arguments."""

import hashlib
import re
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from uuid import UUID

SECRET_PREFIX = "sk-gw-"
# The prefix of admin keys.
ADMIN_SECRET_PREFIX = "sk-admin-"
# The prefix of keys whose secret was made elsewhere and is not known here.
HASH_PREFIX = "sha256:"
_SHOWN = 6
_KEY_ID = re.compile(r"key_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def uuid7(now_ms: int, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562) from a Unix time in milliseconds and 10 random bytes."""
    text = (now_ms.to_bytes(6, "big") + entropy[:10]).hex()
    # The version, and the two bits of the variant, are in the place of random ones.
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def first_uuid7(at: datetime, later: timedelta = timedelta()) -> str:
    """The smallest UUIDv7 of that moment, or of one `later`, which the calendar may not have."""
    unix_ms = max(int((at.timestamp() + later.total_seconds()) * 1000), 0)
    return str(UUID(int=(unix_ms & (2**48 - 1)) << 80))


def new_secret(entropy: bytes, prefix: str = SECRET_PREFIX) -> str:
    """A key's secret from 32 random bytes."""
    return prefix + urlsafe_b64encode(entropy).rstrip(b"=").decode()


def secret_prefix(secret: str, prefix: str = SECRET_PREFIX) -> str:
    """The readable start of a secret: enough to recognise the secret, too little to use it."""
    return secret[: len(prefix) + _SHOWN]


def hash_prefix(hashed: str) -> str:
    """The text that identifies a secret of which only the hash is known."""
    return HASH_PREFIX + hashed[:_SHOWN]


def is_key_id(text: str) -> bool:
    """Whether the text is a key's id rather than a secret."""
    return _KEY_ID.fullmatch(text) is not None


def secret_hash(secret: str) -> str:
    """Secrets carry 256 random bits, so a plain SHA-256 is as safe as a slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
