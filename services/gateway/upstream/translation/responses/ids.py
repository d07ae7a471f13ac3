"""Ids of responses and their items, made of the provider's, so that a retry has the same ones."""

import re
from hashlib import sha256

_DIGEST_CHARS = 48
_MINTED = re.compile(r"(?:rs|msg|fc|ctc|ws)_[0-9a-f]{48}_\d+")


def digest(answer_id: str) -> str:
    return sha256(answer_id.encode()).hexdigest()[:_DIGEST_CHARS]


def item_id(prefix: str, answer_digest: str, index: int) -> str:
    return f"{prefix}_{answer_digest}_{index}"


def is_minted(value: str) -> bool:
    """Whether the id is one of ours, which no provider knows."""
    return _MINTED.fullmatch(value) is not None
