"""Whose signatures and ids a chat body has bare."""

from services.gateway.upstream.translation.parts import ThoughtSignature

# `thinking_blocks` are Anthropic's own blocks, on every server that has them.
SIGNATURES = "anthropic"
# Files, and what else is named by an id.
FILES = "openai"
# `extra_content` is Google's own place for its signatures.
CALL_SIGNATURES = "google"
# What LiteLLM, and with it older gateways, join to a call's id.
_CALL_SIGNATURE_MARK = "__thought__"


def split_id(call_id: str) -> tuple[str, ThoughtSignature | None]:
    """A call's id, and the signature that was joined to it."""
    bare, _, signature = call_id.partition(_CALL_SIGNATURE_MARK)
    if not (bare and signature):
        return call_id, None
    return bare, ThoughtSignature(CALL_SIGNATURES, signature)
