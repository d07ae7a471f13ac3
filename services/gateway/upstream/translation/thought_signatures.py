"""Signatures of one family, in an envelope that clients of another format keep and send back.

`gws1.<family>.<base64url>`; family `none` has an empty payload. Each format has a place that its
clients send back unread: Messages `signature` and `redacted_thinking.data`, Responses
`encrypted_content`, chat `thinking_blocks`.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from services.gateway.upstream.translation.parts import ThoughtSignature

MARK = "gws1."
UNSIGNED = "none"


def envelope(signature: ThoughtSignature) -> str:
    payload = urlsafe_b64encode(signature.data.encode()).rstrip(b"=").decode()
    return f"{MARK}{signature.family}.{payload}"


def signature_in(value: str, native: str) -> ThoughtSignature | None:
    """The signature in an envelope; a bare value is one of the `native` family's own.

    None for an envelope that cannot be read, and for no value at all.
    """
    if not value:
        return None
    if not value.startswith(MARK):
        return ThoughtSignature(native, value)
    family, _, payload = value.removeprefix(MARK).partition(".")
    try:
        data = b64decode(payload + "=" * (-len(payload) % 4), b"-_", validate=True).decode()
    except (Base64Error, ValueError):
        return None
    return ThoughtSignature(family, data) if family else None


def shown_signature(signature: ThoughtSignature, native: str) -> str:
    """As a client of the `native` family's format gets it."""
    return signature.data if signature.family == native else envelope(signature)
