"""The members of Anthropic's messages, whole and in stream events, that are read."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import ABSENT, NULL
from services.gateway.formats.objects import brought_objects
from services.gateway.formats.sse import data_of

# Anthropic charges nothing for an answer that a classifier refused before any output, although it
# reports what the prompt had; its page on refusals says so.
REFUSAL = "refusal"
# Answers without one say null.
_HAS_CONTAINER = re.compile(rb'"container"\s*:\s*\{')


class Block(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT


class MessageAnswer(msgspec.Struct):
    id: str | None = None
    container: msgspec.Raw = NULL
    stop_reason: Any = None
    model: Any = None
    usage: msgspec.Raw = ABSENT


class MessageContent(msgspec.Struct):
    content: list[Block] = []


class MessageDelta(msgspec.Struct):
    stop_reason: Any = None
    container: msgspec.Raw = NULL


class MessageEvent(msgspec.Struct):
    message: MessageAnswer | None = None
    delta: MessageDelta | None = None
    usage: msgspec.Raw = ABSENT


class TextEvent(msgspec.Struct):
    delta: Block | None = None
    content_block: Block | None = None


message_answer = msgspec.json.Decoder(MessageAnswer)
message_content = msgspec.json.Decoder(MessageContent)
_event = msgspec.json.Decoder(MessageEvent)
_text_event = msgspec.json.Decoder(TextEvent)


def objects_in(answer: bytes) -> tuple[str, ...]:
    """The container that a whole answer or a frame ran in, and files made there."""
    if b'"file_id"' not in answer and not (
        b'"container"' in answer and _HAS_CONTAINER.search(answer)
    ):
        return ()
    is_whole = answer.lstrip()[:1] == b"{"
    return brought_objects("messages", answer if is_whole else data_of(answer))


def event_in(frame: bytes) -> MessageEvent:
    try:
        return _event.decode(data_of(frame))
    except UNREADABLE:
        return MessageEvent()


def texts_in_event(data: bytes) -> Iterator[str | None]:
    event = _text_event.decode(data)
    for block in (event.delta, event.content_block):
        if block is not None:
            yield from texts_of(block)


def texts_of(block: Block) -> Iterator[str | None]:
    yield from (block.text, block.thinking, block.partial_json, block.name)
    arguments = bytes(block.input)
    if arguments not in (b"", b"{}", b"null"):
        yield arguments.decode(errors="replace")
