"""Thinking as Anthropic's clients get it: signed, or redacted; never without a signature."""

from typing import Any

import msgspec

from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.parts import Seal
from services.gateway.upstream.translation.seals import UNSIGNED, envelope, shown

_encode = msgspec.json.encode
# Between the parts of what a provider tells of one thought.
SEPARATOR = "\n\n"


def signature_of(seal: Seal | None) -> str:
    return envelope(Seal(UNSIGNED, "")) if seal is None else shown(seal, FAMILY)


def redacted_block(seal: Seal) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": shown(seal, FAMILY)}


def sealed_call_block(call_id: str, seal: Seal) -> dict[str, Any]:
    """A call has no place for its signature, so that goes before it like a thought."""
    return redacted_block(Seal(seal.family, _encode({call_id: seal.data}).decode()))
