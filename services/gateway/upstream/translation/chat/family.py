"""Whose seals and ids a chat body has bare."""

from services.gateway.upstream.translation.parts import Seal

# `thinking_blocks` are Anthropic's own blocks, on every server that has them.
SEALS = "anthropic"
# Files, and what else is named by an id.
FILES = "openai"
# `extra_content` is Google's own place for its signatures.
CALL_SEALS = "google"
# What LiteLLM, and with it older gateways, join to a call's id.
_CALL_SEAL_MARK = "__thought__"


def parted_id(call_id: str) -> tuple[str, Seal | None]:
    """A call's id, and the signature that was joined to it."""
    bare, _, signature = call_id.partition(_CALL_SEAL_MARK)
    if not (bare and signature):
        return call_id, None
    return bare, Seal(CALL_SEALS, signature)
