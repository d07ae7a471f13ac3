"""Thinking for a chat client: its text, and signed blocks that it can send back."""

from typing import Any

from services.gateway.upstream.translation.chat.family import SIGNATURES
from services.gateway.upstream.translation.chat.part_writer import BREAK
from services.gateway.upstream.translation.parts import Thinking, ThoughtSignature
from services.gateway.upstream.translation.thought_signatures import UNSIGNED, shown_signature


def thought_text(thought: Thinking) -> str:
    return BREAK.join(text for text in (*thought.summaries, thought.text) if text)


def block_of(thought: Thinking) -> dict[str, Any] | None:
    """None for thinking that nobody signed: its text is all there is."""
    signature = thought.signature
    if signature is None or signature.family == UNSIGNED:
        return None
    if thought.is_redacted:
        return redacted_block(signature)
    return signed_block(thought_text(thought), signature)


def signed_block(text: str, signature: ThoughtSignature) -> dict[str, Any]:
    return {
        "type": "thinking",
        "thinking": text,
        "signature": shown_signature(signature, SIGNATURES),
    }


def redacted_block(signature: ThoughtSignature) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": shown_signature(signature, SIGNATURES)}
