"""OpenAI Responses."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from libs.common.domain.usage import ResponsesUsage, usage_of_response
from libs.common.errors import AppError, InvalidRequest
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    KEEP_ALIVE_COMMENT,
    NULL,
    UNREADABLE,
    CallRequest,
    ErrorAnswer,
    KeptFrames,
    ModelName,
    consistent,
    decode_answer,
    decode_body,
    decode_fields,
    decode_usage,
    type_of,
)
from services.gateway.formats.errors import openai_answer, openai_error
from services.gateway.formats.reach import reach_of
from services.gateway.sse import data_of, frame

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
    previous_response_id: str | None = None
    conversation: msgspec.Raw = ABSENT


class _InputItem(msgspec.Struct):
    id: msgspec.Raw = ABSENT
    type: str | None = None
    role: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    id: str | None = None
    usage: msgspec.Raw = ABSENT
    service_tier: str | None = None
    output: msgspec.Raw = ABSENT


class _Action(msgspec.Struct):
    type: str | None = None


class _Done(msgspec.Struct):
    type: str | None = None
    action: _Action | None = None


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
    response: _Answer | None = None


class _TextEvent(msgspec.Struct):
    delta: str | None = None


_body = msgspec.json.Decoder(_Body)
_input_items = msgspec.json.Decoder(list[_InputItem])
_answer = msgspec.json.Decoder(_Answer)
_output = msgspec.json.Decoder(_Output)
_done = msgspec.json.Decoder(list[_Done])
_event = msgspec.json.Decoder(_Event)
_text_event = msgspec.json.Decoder(_TextEvent)
_usage = msgspec.json.Decoder(ResponsesUsage)


class Responses:
    name: ClientFormat = "responses"
    path: str = "/v1/responses"
    keep_alive: bytes = KEEP_ALIVE_COMMENT

    def decode(self, body: bytes) -> CallRequest:
        known = decode_body(body, _body)
        if known.background:
            # It is fetched later and past the gateway, which would never learn what it used.
            raise InvalidRequest(
                "The gateway serves no responses in the background: leave out 'background'.",
                param="background",
            )
        if known.conversation not in (ABSENT, NULL):
            # Everybody's conversations lie under the same provider key, and nobody here makes any.
            raise InvalidRequest(
                "The gateway serves no conversations that the provider keeps: leave out "
                "'conversation' and send 'previous_response_id' or the whole input.",
                param="conversation",
            )
        fields = decode_fields(body)
        if _refers_to_items(fields.get("input", ABSENT)):
            # Everybody's items lie there, too, and whose one is only the provider knows.
            raise InvalidRequest(
                "The gateway passes on no references to items that the provider keeps: send the "
                "items themselves ('store': false makes SDKs do so) or 'previous_response_id'.",
                param="input",
            )
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=known.max_output_tokens,
            service_tier=known.service_tier,
            client_user=known.user,
            previous_response_id=known.previous_response_id,
            reach=reach_of(body, fields, known.max_tool_calls),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        return {**request.fields, "model": model}

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        return _tokens(decode_answer(body, _answer))

    def text_of_answer(self, body: bytes) -> bytes:
        found = chain.from_iterable(map(_texts_of, decode_answer(body, _output).output))
        return "".join(text for text in found if text is not None).encode()

    def response_id_of_answer(self, body: bytes) -> str | None:
        return decode_answer(body, _answer).id

    def reader(self, request: CallRequest) -> "ResponsesReader":
        return ResponsesReader()

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return openai_answer(error)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        """Flat fields by the specification, and a nested object, which is what SDKs raise on."""
        fields = openai_error(error)
        flat = {**fields, "type": "error", "sequence_number": 0, "error": fields}
        return frame(_encode(flat), event="error")


class ResponsesReader:
    """Ends at `response.completed`, `.incomplete` or `.failed`, which carry the usage."""

    def __init__(self) -> None:
        self.done = False
        self.failed = False
        self.response_id: str | None = None
        self._usage: TokenUsage | None = None
        self._kept = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        kind = type_of(frame)
        if kind.endswith(b".delta"):
            self._kept.keep(frame)
        elif kind in _TERMINAL:
            self.done = True
            self.failed = kind == b"response.failed"
            self._read_response(frame)
        elif kind == b"response.created":
            self._read_response(frame)
        elif kind == b"error":
            self.failed = True
        return frame

    def _read_response(self, frame: bytes) -> None:
        try:
            response = _event.decode(data_of(frame)).response
        except UNREADABLE:
            return
        if response is not None:
            self._usage = _tokens(response)
            self.response_id = response.id or self.response_id

    def usage(self) -> TokenUsage | None:
        return self._usage

    def text(self) -> bytes:
        return self._kept.text(lambda data: [_text_event.decode(data).delta])

    def unkept_bytes(self) -> int:
        return self._kept.beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        return TokenUsage(input_text=input_tokens, output_text=output_tokens)


def _refers_to_items(given: msgspec.Raw) -> bool:
    """By type, or by an id alone: an item that says nothing else is a reference as well."""
    if b'"id"' not in bytes(given) and b"\\u00" not in bytes(given):
        return False
    try:
        items = _input_items.decode(given)
    except UNREADABLE:
        # A text, or nothing that a provider would take.
        return False
    return any(
        item.type == "item_reference"
        or (item.type is None and item.role in (ABSENT, NULL) and item.id not in (ABSENT, NULL))
        for item in items
    )


def _tokens(answer: _Answer) -> TokenUsage | None:
    usage = decode_usage(answer.usage, _usage)
    tokens = None if usage is None else consistent(usage_of_response, usage, answer.service_tier)
    if tokens is None or tokens.web_searches is not None:
        return tokens
    return msgspec.structs.replace(tokens, web_searches=_searches(answer.output))


def _searches(output: msgspec.Raw) -> int | None:
    """How often the provider searched, which it charges for and does not count in the usage.

    Pages that it opened or looked through are not searches. None where there was no search.
    """
    if b'"web_search_call"' not in bytes(output):
        return None
    try:
        items = _done.decode(output)
    except UNREADABLE:
        return None
    calls = [item.action for item in items if item.type == "web_search_call"]
    return sum(action is None or action.type in (None, "search") for action in calls) or None


def _texts_of(item: _Item) -> Iterator[str | None]:
    yield item.arguments
    for part in (*(item.content or ()), *(item.summary or ())):
        yield from (part.text, part.refusal)
