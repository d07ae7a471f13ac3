"""Thinking as a chat client gets it: its text, and blocks that it can send back sealed."""

from typing import Any

from services.gateway.upstream.translation.chat.family import SEALS
from services.gateway.upstream.translation.chat.part_writer import BREAK
from services.gateway.upstream.translation.parts import Seal, Thinking
from services.gateway.upstream.translation.seals import UNSIGNED, shown


def text_of(thought: Thinking) -> str:
    return BREAK.join(text for text in (*thought.summaries, thought.text) if text)


def block_of(thought: Thinking) -> dict[str, Any] | None:
    """None for thinking that nobody signed: its text is all there is."""
    seal = thought.seal
    if seal is None or seal.family == UNSIGNED:
        return None
    if thought.is_redacted:
        return redacted_block(seal)
    return sealed_block(text_of(thought), seal)


def sealed_block(text: str, seal: Seal) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": shown(seal, SEALS)}


def redacted_block(seal: Seal) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": shown(seal, SEALS)}
