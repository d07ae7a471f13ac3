"""Reads a client's messages, and what stands before them, into turns."""

from collections.abc import Sequence

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.conversation import Turn
from services.gateway.upstream.translation.messages import wire
from services.gateway.upstream.translation.messages.block_reader import read_block, read_text
from services.gateway.upstream.translation.messages.family import FAMILY, PATHS
from services.gateway.upstream.translation.parts import (
    At,
    Hosted,
    Opaque,
    Part,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.refusals import decode_at, invalid

# Anthropic's rules of which role may have which block; targets reject anything else.
_NAMES = {ToolCall: "tool_use", Result: "tool_result", Thinking: "thinking"}
_ROLES: dict[type, str] = {ToolCall: "assistant", Thinking: "assistant", Result: "user"}
_EVERYWHERE = (Hosted, Opaque)

_messages = msgspec.json.Decoder(list[wire.Message])
_raw_messages = msgspec.json.Decoder(list[wire.RawMessage])
_system = msgspec.json.Decoder(str | list[wire.TextBlock] | None)
_call_signatures = msgspec.json.Decoder(dict[str, str])


def read_system(raw: msgspec.Raw) -> tuple[Turn, ...]:
    """The one turn of top-level `system` blocks; none where it says nothing."""
    system = decode_at(_system, raw, "system")
    if not system:
        return ()
    if isinstance(system, str):
        return (Turn(role="system", parts=(Text(text=system, at=(-1,)),), at=(-1,)),)
    parts = tuple(read_text(block, (-1 - index,)) for index, block in enumerate(system))
    return (Turn(role="system", parts=parts, at=(-1,)),)


def read_messages(raw: msgspec.Raw) -> tuple[Turn, ...]:
    """Raises InvalidRequest with the path of what is wrong."""
    try:
        messages: Sequence[wire.Message | wire.RawMessage] = _messages.decode(raw)
    except UNREADABLE:
        # Blocks that only Anthropic knows, or a mistake: the slow way tells, block by block.
        raw_messages = decode_at(_raw_messages, raw, "messages")
        return tuple(_turn(message, index) for index, message in enumerate(raw_messages))
    return tuple(_turn(message, index) for index, message in enumerate(messages))


def _turn(message: wire.Message | wire.RawMessage, index: int) -> Turn:
    role, content, at = message.role, message.content, (index,)
    if isinstance(content, str):
        return Turn(role=role, parts=(Text(text=content, at=at),) if content else (), at=at)
    parts: list[Part] = []
    call_signatures: dict[str, ThoughtSignature] = {}
    for number, block in enumerate(content):
        block_at = (index, number)
        for part in read_block(block, block_at):
            if type(part) is not Text:
                _check_role(part, role, block_at)
            if (
                type(part) is Thinking
                and part.is_redacted
                and _signatures_of_calls(part, call_signatures)
            ):
                continue
            parts.append(part)
    if call_signatures:
        parts = [_with_signature(part, call_signatures) for part in parts]
    return Turn(role=role, parts=tuple(parts), at=at)


def _check_role(part: Part, role: str, at: At) -> None:
    kind = type(part)
    if kind in _EVERYWHERE or _ROLES.get(kind, role) == role != "system":
        return
    name = _NAMES.get(kind, kind.__name__.lower())
    raise invalid(PATHS.of(at), f"role {role} may not have a block of type {name}")


def _signatures_of_calls(part: Thinking, call_signatures: dict[str, ThoughtSignature]) -> bool:
    """Whether it is not a thought but signatures of calls, which travel in such a block."""
    signature = part.signature
    if signature is None or signature.family == FAMILY or not signature.data.startswith("{"):
        return False
    try:
        signatures = _call_signatures.decode(signature.data)
    except UNREADABLE:
        return False
    call_signatures.update(
        (call_id, ThoughtSignature(signature.family, data)) for call_id, data in signatures.items()
    )
    return True


def _with_signature(part: Part, signatures: dict[str, ThoughtSignature]) -> Part:
    if type(part) is ToolCall and part.id in signatures:
        return msgspec.structs.replace(part, signature=signatures[part.id])
    return part
