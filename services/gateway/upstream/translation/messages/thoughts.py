"""Thinking for Anthropic's clients: signed or redacted, never without a signature."""

from typing import Any

import msgspec

from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.thought_signatures import (
    UNSIGNED,
    envelope,
    shown_signature,
)

_encode = msgspec.json.encode
# Between the parts of what a provider tells of one thought.
SEPARATOR = "\n\n"


def signature_of(signature: ThoughtSignature | None) -> str:
    return (
        envelope(ThoughtSignature(UNSIGNED, ""))
        if signature is None
        else shown_signature(signature, FAMILY)
    )


def redacted_block(signature: ThoughtSignature) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": shown_signature(signature, FAMILY)}


def call_signature_block(call_id: str, signature: ThoughtSignature) -> dict[str, Any]:
    """A call has no place for its signature, so that goes before it like a thought."""
    return redacted_block(
        ThoughtSignature(signature.family, _encode({call_id: signature.data}).decode())
    )
