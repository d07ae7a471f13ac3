"""OpenAI Responses."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.hosted_tools import with_tools
from libs.common.domain.reported_counts import word_of
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled, usage_of_openai
from libs.common.errors import AppError, InvalidRequest
from libs.common.schemas.usage import MAX_OBJECTS, ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    KEEP_ALIVE_COMMENT,
    NO_OBJECTS,
    CallRequest,
    ErrorAnswer,
    MadeObjects,
    ModelName,
    decode_answer,
    decode_fields,
    decode_known,
    report_in,
    tier_in_force,
    type_of,
)
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.errors import (
    OPENAI_UNKNOWN_STATUSES,
    openai_answer,
    openai_error,
)
from services.gateway.formats.headers import OPENAI_HEADERS, FormatHeaders
from services.gateway.formats.kept_frames import KeptFrames
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import brought_objects, is_disguised, named_objects
from services.gateway.formats.sse import data_of, frame

_encode = msgspec.json.encode
_TERMINAL = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})


class _Body(msgspec.Struct):
    model: ModelName
    stream: bool | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    service_tier: str | None = None
    user: str | None = None
    background: bool | None = None


class _ResponseAnswer(msgspec.Struct):
    id: str | None = None
    model: Any = None
    usage: msgspec.Raw = ABSENT
    service_tier: str | None = None
    status: Any = None
    output: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    tool_usage: msgspec.Raw = ABSENT


class _OutputItem(msgspec.Struct):
    id: str | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    arguments: str | None = None


class _Output(msgspec.Struct):
    output: list[_Item] = []


class _Event(msgspec.Struct):
    response: _ResponseAnswer | None = None


class _ItemEvent(msgspec.Struct):
    item: _OutputItem


class _TextEvent(msgspec.Struct):
    delta: str | None = None


_body = msgspec.json.Decoder(_Body)
_answer = msgspec.json.Decoder(_ResponseAnswer)
_output_items = msgspec.json.Decoder(list[_OutputItem])
_item_event = msgspec.json.Decoder(_ItemEvent)
_output = msgspec.json.Decoder(_Output)
_event = msgspec.json.Decoder(_Event)
_text_event = msgspec.json.Decoder(_TextEvent)


class Responses:
    name: ClientFormat = "responses"
    path: str = "/v1/responses"
    keep_alive: bytes = KEEP_ALIVE_COMMENT
    headers: FormatHeaders = OPENAI_HEADERS
    generates: bool = True
    unknown_statuses: frozenset[int] = OPENAI_UNKNOWN_STATUSES
    untagged: frozenset[str] = frozenset()
    query_parameters: frozenset[str] = frozenset()

    def decode(self, body: bytes) -> CallRequest:
        fields = decode_fields(body)
        known = decode_known(body, fields, _body)
        if known.background:
            # Clients fetch its answer later and past the gateway, which would never see its usage.
            raise InvalidRequest(
                "Background responses are not supported: omit 'background'.",
                param="background",
            )
        disguised = is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=known.max_output_tokens,
            service_tier=known.service_tier,
            client_user=known.user,
            named_objects=named_objects("responses", body, fields, disguised=disguised),
            keeps_answer=True,
            features=billable_features(body, fields, known.max_tool_calls, disguised=disguised),
            models=named_models(body, fields, disguised=disguised, makes_images=True),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        return {**request.fields, "model": model}

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        return _tokens(decode_answer(body, _answer))

    def model_of_answer(self, body: bytes) -> str | None:
        return word_of(decode_answer(body, _answer).model)

    def text_of_answer(self, body: bytes) -> bytes:
        texts = chain.from_iterable(map(_texts_of, decode_answer(body, _output).output))
        return "".join(text for text in texts if text is not None).encode()

    def has_failed(self, body: bytes) -> bool:
        return b'"failed"' in body and decode_answer(body, _answer).status == "failed"

    def objects_of_answer(self, request: CallRequest, body: bytes) -> MadeObjects:
        return _objects_of(decode_answer(body, _answer))

    def reader(self, request: CallRequest) -> "ResponsesReader":
        return ResponsesReader(request.service_tier)

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return openai_answer(error)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        """Flat fields by the specification, and a nested object, which is what SDKs raise on."""
        fields = openai_error(error)
        flat = {**fields, "type": "error", "sequence_number": 0, "error": fields}
        return frame(_encode(flat), event="error")


class ResponsesReader:
    """Ends at `response.completed`, `.incomplete` or `.failed`, which carry the usage."""

    def __init__(self, requested_tier: str | None = None) -> None:
        self.done = False
        self.failed = False
        self._requested_tier = requested_tier
        self._reported_tier: str | None = None
        self._model: str | None = None
        self._made = NO_OBJECTS
        self._item_frames: list[bytes] = []
        self._usage: TokenUsage | None = None
        self._frames = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        kind = type_of(frame)
        if kind.endswith(b".delta"):
            self._frames.keep(frame)
        elif kind in _TERMINAL:
            self.done = True
            self.failed = kind == b"response.failed"
            self._read_response(frame)
        elif kind == b"response.created":
            self._read_response(frame)
        elif kind == b"response.output_item.added" and len(self._item_frames) < MAX_OBJECTS:
            self._item_frames.append(frame)
        elif kind == b"error":
            self.failed = True
        return frame

    def _read_response(self, frame: bytes) -> None:
        try:
            response = _event.decode(data_of(frame)).response
        except UNREADABLE:
            return
        if response is not None:
            self._model = word_of(response.model) or self._model
            self._usage = _tokens(response)
            self._reported_tier = response.service_tier or self._reported_tier
            if self._usage is not None and total_output(self._usage):
                self._frames.mark_counted()
            made = _objects_of(response)
            self._made = made if made.response_id is not None else self._made

    def objects(self) -> MadeObjects:
        """The last event lists the items; where it does not come, those that were begun."""
        if self._made.objects:
            return self._made
        return msgspec.structs.replace(self._made, objects=tuple(_item_ids(self._item_frames)))

    def is_whole(self) -> bool:
        """Only the event that ends a response has its usage."""
        return False

    def usage(self) -> TokenUsage | None:
        reported = self._usage
        if reported is None or (self._frames.has_uncounted() and self.text()):
            return None
        return reported if total_input(reported) or not total_output(reported) else None

    def model(self) -> str | None:
        return self._model

    def was_delivered(self) -> bool:
        reported = self._usage
        if reported is not None and (total_output(reported) or total_input(reported)):
            return True
        return bool(self.text())

    def text(self) -> bytes:
        return self._frames.uncounted_text(lambda data: [_text_event.decode(data).delta])

    def unkept_bytes(self) -> int:
        return self._frames.uncounted_beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """At the requested tier if the stream broke off before it reported one."""
        tier = tier_in_force(self._reported_tier, self._requested_tier)
        reported = TokenUsage(service_tier=tier) if self._usage is None else self._usage
        return filled(reported, input_tokens, output_tokens)


def _objects_of(answer: _ResponseAnswer) -> MadeObjects:
    """The response, the items of its output, and the containers that it ran in."""
    output = bytes(answer.output)
    if not output:
        return MadeObjects(answer.id)
    try:
        items = tuple(item.id for item in _output_items.decode(output) if item.id is not None)
    except UNREADABLE:
        items = ()
    if b'"container_id"' in output:
        items += brought_objects("responses", output)
    return MadeObjects(answer.id, items)


def _item_ids(frames: list[bytes]) -> Iterator[str]:
    for frame_bytes in frames:
        try:
            item_id = _item_event.decode(data_of(frame_bytes)).item.id
        except UNREADABLE:
            continue
        if item_id is not None:
            yield item_id


def _tokens(answer: _ResponseAnswer) -> TokenUsage | None:
    report = report_in(answer.usage)
    if report is None:
        return None
    return with_tools(
        usage_of_openai(report, answer.service_tier),
        output=bytes(answer.output),
        tools=bytes(answer.tools),
        tool_usage=bytes(answer.tool_usage),
    )


def _texts_of(item: _Item) -> Iterator[str | None]:
    yield item.arguments
    for part in (*(item.content or ()), *(item.summary or ())):
        yield from (part.text, part.refusal)
