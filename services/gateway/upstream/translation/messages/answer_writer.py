"""Writes a whole message for an Anthropic client."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import AnswerBroken
from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.messages.searches import citations_of, hosted_blocks
from services.gateway.upstream.translation.messages.stops import written_stop
from services.gateway.upstream.translation.messages.thoughts import (
    SEPARATOR,
    call_signature_block,
    redacted_block,
    signature_of,
)
from services.gateway.upstream.translation.messages.usage import written_usage
from services.gateway.upstream.translation.omissions import omit
from services.gateway.upstream.translation.parts import (
    Hosted,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply, StopKind

Block = Any

_PREFIX = re.compile(r"^(?:chatcmpl-|resp_|msg_)")
# Ends by which a call may have been cut off.
_CUT: tuple[StopKind, ...] = ("limit", "window", "blocked")

_encode = msgspec.json.encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def write_answer(reply: Reply, context: AnswerContext) -> bytes:
    """Raises AnswerBroken where a call cannot be read, and was not cut off."""
    content = [block for part in reply.parts for block in _blocks(part, reply.stop.kind, context)]
    message = {
        "id": message_id(reply.id, context.created),
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": content,
        **written_stop(reply.stop, context.family),
        "usage": written_usage(reply.usage),
    }
    return _encode(message)


def message_id(answer_id: str, created: int) -> str:
    """The provider's own, so that the same answer always has the same."""
    return f"msg_{_PREFIX.sub('', answer_id) or created}"


def _blocks(part: Part, end: StopKind, context: AnswerContext) -> Iterator[Block]:
    match part:
        case Text() if part.text or part.citations is not None:
            yield _text(part)
        case Refusal() if part.text:
            yield {"type": "text", "text": part.text}
        case Thinking():
            yield from _thinking(part)
        case ToolCall():
            yield from _call(part, end, context)
        case Hosted() | Opaque():
            blocks = hosted_blocks(part.kind, part.raw, part.family)
            if not blocks:
                omit(context, part.kind, part.at)
            yield from blocks


def _text(part: Text) -> Block:
    block: dict[str, Any] = {"type": "text", "text": part.text}
    if part.citations is not None:
        citations = citations_of(part.citations, part.family or "", part.text)
        if citations:
            block["citations"] = citations
    return block


def _thinking(part: Thinking) -> Iterator[Block]:
    signature = part.signature
    text = part.text or SEPARATOR.join(part.summaries)
    if signature is not None and (part.is_redacted or (signature.family != FAMILY and not text)):
        if signature.data:
            yield redacted_block(signature)
    elif text or signature is not None:
        yield {"type": "thinking", "thinking": text, "signature": signature_of(signature)}


def _call(part: ToolCall, end: StopKind, context: AnswerContext) -> Iterator[Block]:
    arguments = input_of(part.arguments)
    _, name, _ = context.names.original(part.name)
    if arguments is None:
        if end in _CUT:
            return
        raise broken(name)
    if part.signature is not None:
        yield call_signature_block(part.id, part.signature)
    block = {"type": "tool_use", "id": part.id, "name": name, "input": arguments}
    yield block | part.extra if context.family == FAMILY else block


def input_of(arguments: str) -> msgspec.Raw | None:
    """None where they are not a JSON object. Without any, the call has no arguments."""
    text = arguments.strip()
    if not text:
        return msgspec.Raw(b"{}")
    try:
        raw = text.encode()
        _object.decode(raw)
    except UNREADABLE:
        return None
    return msgspec.Raw(raw)


def is_cut(end: StopKind) -> bool:
    return end in _CUT


def broken(name: str) -> AnswerBroken:
    return AnswerBroken(
        f"The model called the tool {name} with arguments that are not a JSON object. The call is"
        " charged as the provider reported it."
    )
