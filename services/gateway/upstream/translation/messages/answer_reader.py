"""Reads a whole message of a provider's."""

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.message_usage import usage_in_message
from libs.common.errors import UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import ABSENT, NULL, decode_answer
from services.gateway.formats.messages_wire import REFUSAL
from services.gateway.upstream.translation.messages.errors import failure_in
from services.gateway.upstream.translation.messages.stops import read_stop
from services.gateway.upstream.translation.messages.usage import of_refusal
from services.gateway.upstream.translation.messages.wire import AnswerBlock, MessageObject
from services.gateway.upstream.translation.parts import (
    Family,
    Hosted,
    Opaque,
    Part,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError

Raw = msgspec.Raw

_RESULT_SUFFIX = "_tool_result"
_EMPTY = b"{}"
_EMPTY_OBJECT = b"{} \t\r\n"
_NOTHING = TokenUsage()
_TIERS = {"standard": "default"}

_answer = msgspec.json.Decoder(MessageObject)
_block = msgspec.json.Decoder(AnswerBlock)


def read_answer(body: bytes, family: Family) -> Reply | ReportedError:
    """Raises UpstreamFailed where it cannot be read."""
    answer = decode_answer(body, _answer)
    if is_said(answer.error):
        return failure_in(answer.error, None)
    if answer.content is None:
        raise UpstreamFailed("The provider's answer cannot be read: it has no content.")
    parts = [_part(raw, family, index) for index, raw in enumerate(answer.content)]
    usage = _usage(answer.usage) if is_said(answer.usage) else None
    if answer.stop_reason == REFUSAL:
        usage = of_refusal(usage, has_output=any(map(_is_output, parts)))
    tier = None if usage is None else usage.service_tier
    return Reply(
        id=answer.id,
        model=answer.model,
        parts=tuple(parts),
        stop=read_stop(
            answer.stop_reason,
            answer.stop_sequence,
            answer.stop_details,
            has_calls=ToolCall in map(type, parts),
            extra=own_members(answer.container, answer.context_management),
        ),
        usage=usage,
        tier=None if tier is None else _TIERS.get(tier, tier),
    )


def _usage(raw: Raw) -> TokenUsage | None:
    """None for an object without members, too: what nobody reports is estimated."""
    usage = usage_in_message(raw)
    is_empty = usage == _NOTHING and not bytes(raw).strip(_EMPTY_OBJECT)
    return None if is_empty else usage


def own_members(container: Raw, context_management: Raw) -> dict[str, Raw]:
    members: dict[str, Raw] = {}
    if is_said(container):
        members["container"] = container
    if is_said(context_management):
        members["context_management"] = context_management
    return members


def is_filled_list(raw: Raw) -> bool:
    data = bytes(raw)
    return data[:1] == b"[" and data != b"[]"


def is_said(raw: Raw) -> bool:
    return raw is not ABSENT and raw != NULL


def decode_block(raw: Raw) -> AnswerBlock:
    """Raises UpstreamFailed."""
    try:
        return _block.decode(raw)
    except UNREADABLE as error:
        raise UpstreamFailed("The provider's answer has a block that cannot be read.") from error


def _part(raw: Raw, family: Family, index: int) -> Part:
    block = decode_block(raw)
    match block.type:
        case "text":
            is_cited = is_filled_list(block.citations)
            citations = block.citations if is_cited else None
            text = block.text or ""
            return Text(text=text, citations=citations, family=family if is_cited else None)
        case "thinking":
            signature = ThoughtSignature(family, block.signature) if block.signature else None
            return Thinking(text=block.thinking or "", signature=signature)
        case "redacted_thinking":
            return Thinking(signature=ThoughtSignature(family, block.data), is_redacted=True)
        case "tool_use":
            return _call(block)
        case _:
            return own_part(block, raw, family, index)


def _is_output(part: Part) -> bool:
    return bool(part.text) if isinstance(part, Text | Thinking) else True


def _call(block: AnswerBlock) -> ToolCall:
    pairs = (("caller", block.caller), ("toolset_name", block.toolset_name))
    return ToolCall(
        id=block.id,
        name=block.name,
        arguments=(bytes(block.input) if is_said(block.input) else _EMPTY).decode(),
        extra={name: raw for name, raw in pairs if is_said(raw)},
    )


def own_part(block: AnswerBlock, raw: Raw, family: Family, index: int) -> Hosted | Opaque:
    """A part that the provider ran, or that only its family knows."""
    at = (index,)
    if block.type == "server_tool_use":
        return Hosted(kind=block.name, raw=raw, family=family, id=block.id, at=at)
    if block.type.endswith(_RESULT_SUFFIX):
        kind = block.type.removesuffix(_RESULT_SUFFIX)
        return Hosted(kind=kind, raw=raw, family=family, at=at)
    return Opaque(kind=block.type, raw=raw, family=family, at=at)
