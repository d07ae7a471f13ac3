"""Replaces the secret of a key. The old secret works on for a while.

Invariants: the current secret is none of the old ones; no rotation lets an old secret work longer
than before it.
"""

from datetime import datetime

import msgspec

from libs.common.schemas.key import ApiKey, OldSecret

# Also how many rotations may lose their answers before a secret that clients hold must go.
MAX_OLD_SECRETS = 4


def old_secrets_after(key: ApiKey, until: datetime, now: datetime) -> tuple[OldSecret, ...] | None:
    """The old secrets after a rotation. None if too many still work."""
    replaced = OldSecret(prefix=key.prefix, secret_hash=key.secret_hash, until=until)
    old = [msgspec.structs.replace(each, until=min(each.until, until)) for each in key.old_secrets]
    dropped, kept = old[: -MAX_OLD_SECRETS + 1], old[-MAX_OLD_SECRETS + 1 :]
    if any(each.until > now for each in dropped):
        return None
    return (*kept, replaced)


def has_secret(key: ApiKey, secret_hash: str) -> bool:
    """Whether it is the key's, or was."""
    return secret_hash in (key.secret_hash, *(old.secret_hash for old in key.old_secrets))


def held_by(key: ApiKey, secret_hash: str) -> ApiKey:
    """The key as the holder of one of its secrets has it: an old secret expires earlier."""
    for old in key.old_secrets:
        if old.secret_hash == secret_hash:
            ends = old.until if key.expires_at is None else min(old.until, key.expires_at)
            return msgspec.structs.replace(key, secret_hash=secret_hash, expires_at=ends)
    return key
