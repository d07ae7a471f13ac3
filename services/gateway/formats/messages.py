"""Anthropic Messages."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.message_usage import started, usage_of_message, with_container
from libs.common.domain.reported_counts import Report, merged
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled
from libs.common.errors import AppError
from libs.common.schemas.price import FAST
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    NULL,
    CallRequest,
    ErrorAnswer,
    Made,
    ModelName,
    decode_answer,
    decode_body,
    decode_fields,
    report_in,
    type_of,
)
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.errors import anthropic_answer
from services.gateway.formats.headers import ANTHROPIC_HEADERS, FormatHeaders
from services.gateway.formats.kept_frames import KeptFrames
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import brought_objects, is_disguised, named_objects
from services.gateway.formats.sse import data_of, frame


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    model: ModelName
    stream: bool | None = None
    max_tokens: int | None = None
    service_tier: str | None = None
    metadata: _Metadata | None = None


class _Block(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    id: str | None = None
    container: msgspec.Raw = NULL
    stop_reason: str | None = None
    model: str | None = None
    usage: msgspec.Raw = ABSENT


class _Content(msgspec.Struct):
    content: list[_Block] = []


class _Delta(msgspec.Struct):
    stop_reason: str | None = None
    container: msgspec.Raw = NULL


class _Event(msgspec.Struct):
    message: _Answer | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = ABSENT


class _TextEvent(msgspec.Struct):
    delta: _Block | None = None
    content_block: _Block | None = None


# What edits of the context are called that run the model for a summary.
_COMPACTION = b"compact"
# Anthropic charges nothing for an answer that a classifier refused before any output, although it
# reports what the prompt had; its page on refusals says so.
_REFUSAL = "refusal"
# A call with one of them is named by the next one.
_NAMED_LATER = ("thread", "diagnostics")
# Answers without one say null.
_HAS_CONTAINER = re.compile(rb'"container"\s*:\s*\{')

_body = msgspec.json.Decoder(_Body)
_answer = msgspec.json.Decoder(_Answer)
_content = msgspec.json.Decoder(_Content)
_event = msgspec.json.Decoder(_Event)
_text_event = msgspec.json.Decoder(_TextEvent)


class Messages:
    name: ClientFormat = "messages"
    path: str = "/v1/messages"
    keep_alive: bytes = frame(b'{"type":"ping"}', event="ping")
    headers: FormatHeaders = ANTHROPIC_HEADERS

    def decode(self, body: bytes) -> CallRequest:
        known = decode_body(body, _body)
        fields, disguised = decode_fields(body), is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=known.max_tokens,
            service_tier=known.service_tier,
            client_user=None if known.metadata is None else known.metadata.user_id,
            named=named_objects("messages", body, fields, disguised=disguised),
            keeps_answer=any(fields.get(name, NULL) != NULL for name in _NAMED_LATER),
            compacts=_COMPACTION in bytes(fields.get("context_management", ABSENT)),
            features=billable_features(body, fields, disguised=disguised),
            models=named_models(body, fields, disguised=disguised),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        return {**request.fields, "model": model}

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        answer = decode_answer(body, _answer)
        report = report_in(answer.usage)
        if report is None:
            return None
        tokens = with_container(usage_of_message(report), ran=answer.container != NULL)
        if answer.stop_reason == _REFUSAL and not self.text_of_answer(body):
            return msgspec.structs.replace(tokens, unbilled=True)
        return tokens

    def model_of_answer(self, body: bytes) -> str | None:
        return decode_answer(body, _answer).model

    def text_of_answer(self, body: bytes) -> bytes:
        found = chain.from_iterable(map(_texts_of, decode_answer(body, _content).content))
        return "".join(text for text in found if text is not None).encode()

    def has_failed(self, body: bytes) -> bool:
        return False

    def made_by(self, request: CallRequest, body: bytes) -> Made:
        return Made(
            decode_answer(body, _answer).id if request.keeps_answer else None, _objects_in(body)
        )

    def reader(self, request: CallRequest) -> "MessagesReader":
        return MessagesReader(
            FAST if request.features.fast else None, keeps_answer=request.keeps_answer
        )

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return anthropic_answer(error, request_id)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        return frame(anthropic_answer(error, request_id).body, event="error")


class MessagesReader:
    """Ends at `message_stop`; `message_start` and `message_delta` carry cumulative usage."""

    def __init__(self, asked_speed: str | None = None, *, keeps_answer: bool = False) -> None:
        self.done = False
        self.failed = False
        self._keeps_answer = keeps_answer
        self._message_id: str | None = None
        self._model: str | None = None
        self._objects: tuple[str, ...] = ()
        self._asked_speed = asked_speed
        self._report: Report = {}
        self._announced = 0
        self._ran_code = False
        self._complete = False
        self._stop_reason: str | None = None
        self._kept = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        match type_of(frame):
            case b"content_block_delta":
                self._kept.keep(frame)
            case b"content_block_start":
                self._kept.keep(frame)
                self._objects += _objects_in(frame)
            case b"message_start":
                self._objects += _objects_in(frame)
                message = _decode_event(frame).message
                if message is not None:
                    self._message_id, self._model = message.id, message.model
                    self._ran_code = message.container != NULL
                    self._announce(message.usage)
            case b"message_delta":
                self._objects += _objects_in(frame)
                event = _decode_event(frame)
                self._merge(event.usage)
                self._complete = True
                if event.delta is not None:
                    self._stop_reason = event.delta.stop_reason or self._stop_reason
                    self._ran_code = self._ran_code or event.delta.container != NULL
            case b"message_stop":
                self.done = True
            case b"error":
                self.failed = True
        return frame

    def _announce(self, raw: msgspec.Raw) -> None:
        report = report_in(raw)
        if report is not None:
            self._announced = total_output(usage_of_message(report))
            self._report = merged(self._report, started(report))

    def _merge(self, raw: msgspec.Raw) -> None:
        report = report_in(raw)
        if report is not None:
            self._report = merged(self._report, report)

    def is_whole(self) -> bool:
        return self._complete and self._stop_reason is not None and bool(self._report)

    def made(self) -> Made:
        return Made(self._message_id if self._keeps_answer else None, self._objects)

    def usage(self) -> TokenUsage | None:
        if not (self._complete and self._report):
            return None
        reported = self._told()
        if self._stop_reason == _REFUSAL and not self.text():
            return msgspec.structs.replace(reported, unbilled=True)
        has_input, has_output = total_input(reported) > 0, total_output(reported) > 0
        if has_input and has_output:
            return reported
        is_silent = (has_output and not has_input) or bool(self.text())
        return None if is_silent else reported

    def model(self) -> str | None:
        return self._model

    def _told(self) -> TokenUsage:
        return with_container(usage_of_message(self._report), ran=self._ran_code)

    def was_delivered(self) -> bool:
        reported = self._told()
        return bool(total_input(reported) or total_output(reported) or self.text())

    def text(self) -> bytes:
        return self._kept.uncounted_text(_texts_of_event)

    def unkept_bytes(self) -> int:
        return self._kept.uncounted_beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """The input as reported, where it was, and what was announced or estimated of the output.

        As fast as the call asked to be, where no event had said so yet.
        """
        reported = self._told()
        if reported.speed is None:
            reported = msgspec.structs.replace(reported, speed=self._asked_speed)
        uncounted = max(output_tokens, self._announced) - total_output(reported)
        return filled(reported, input_tokens, max(uncounted, 0))


def _objects_in(answer: bytes) -> tuple[str, ...]:
    """Of a whole answer or of a frame: the container that it ran in, and files made there."""
    if b'"file_id"' not in answer and not (
        b'"container"' in answer and _HAS_CONTAINER.search(answer)
    ):
        return ()
    is_whole = answer.lstrip()[:1] == b"{"
    return brought_objects("messages", answer if is_whole else data_of(answer))


def _decode_event(frame: bytes) -> _Event:
    try:
        return _event.decode(data_of(frame))
    except UNREADABLE:
        return _Event()


def _texts_of_event(data: bytes) -> Iterator[str | None]:
    event = _text_event.decode(data)
    for block in (event.delta, event.content_block):
        if block is not None:
            yield from _texts_of(block)


def _texts_of(block: _Block) -> Iterator[str | None]:
    yield from (block.text, block.thinking, block.partial_json, block.name)
    arguments = bytes(block.input)
    if arguments not in (b"", b"{}", b"null"):
        yield arguments.decode(errors="replace")
