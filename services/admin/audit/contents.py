"""The stored form of a body or an answer: JSON as text, bounded, without secrets."""

import re
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.redaction import MARKER, redact
from libs.common.web.json import encode_json

_MAX_BYTES = 16_384
# More is not decoded, only measured.
_MAX_DECODED_BYTES = 262_144
_MAX_DEPTH = 32
# Our own members that hold a secret; other secrets are recognised by their form.
_SECRET_NAMES = re.compile(
    r"(?i).*(secret|password|passphrase|authorization|(api|admin)_key|token)s?|key_sha256"
)
# Members that change without a write of this service.
_LEFT_OUT = frozenset({"spend"})

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def kept_body(content: bytes) -> str | None:
    """Of a request's body."""
    if not content:
        return None
    if len(content) > _MAX_DECODED_BYTES:
        return _size_of(content)
    try:
        return _json_text(_decode(content))
    except (*UNREADABLE, RecursionError):
        return _size_of(content)


def kept_answer(content: Any) -> str:
    """Of a struct of ours."""
    encoded = encode_json(content)
    return _size_of(encoded) if len(encoded) > _MAX_DECODED_BYTES else _json_text(_decode(encoded))


def _json_text(content: Any) -> str:
    encoded = encode_json(_clean(content, 0))
    return _size_of(encoded) if len(encoded) > _MAX_BYTES else encoded.decode()


def _size_of(content: bytes) -> str:
    left_out = {"omitted_bytes": len(content), "sha256": sha256(content).hexdigest()}
    return encode_json(left_out).decode()


def _clean(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {
            name: MARKER.decode()
            if isinstance(item, str) and _SECRET_NAMES.fullmatch(name)
            else _clean(item, depth + 1)
            for name, item in value.items()
            if depth or name not in _LEFT_OUT
        }
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    return redact(value.encode()).decode() if isinstance(value, str) else value
