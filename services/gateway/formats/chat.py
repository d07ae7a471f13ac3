"""OpenAI Chat Completions."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.reported_counts import Report, merged
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled, usage_of_openai
from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    KEEP_ALIVE_COMMENT,
    NOTHING_MADE,
    NULL,
    CallRequest,
    ErrorAnswer,
    KeptFrames,
    Made,
    ModelName,
    decode_answer,
    decode_body,
    decode_fields,
    report_in,
    tier_in_force,
)
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.errors import openai_answer, openai_error
from services.gateway.formats.headers import OPENAI_HEADERS, FormatHeaders
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import brought_objects, is_disguised, named_objects
from services.gateway.formats.sse import data_of, frame

_encode = msgspec.json.encode
# What OpenAI's searching models leave of their one search: no usage counts it. In a text that says
# so there is a backslash before its quotes.
_CITATION = b'"url_citation"'
_NULL_USAGE = b',"usage":null}\n\n'
# In a text that says so there is a backslash before its last quote.
_FINISH_REASON = re.compile(rb'"finish_reason"\s*:\s*"')


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    model: ModelName
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    service_tier: str | None = None
    user: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None
    custom: _Custom | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    service_tier: str | None = None


class _Texts(msgspec.Struct):
    choices: list[_Choice] = []


_body = msgspec.json.Decoder(_Body)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_answer = msgspec.json.Decoder(_Answer)
_texts = msgspec.json.Decoder(_Texts)


class Chat:
    name: ClientFormat = "chat"
    path: str = "/v1/chat/completions"
    keep_alive: bytes = KEEP_ALIVE_COMMENT
    headers: FormatHeaders = OPENAI_HEADERS

    def decode(self, body: bytes) -> CallRequest:
        known = decode_body(body, _body)
        options = known.stream_options
        # Which of the two counts is the provider's to say; some know only the older one.
        limits = [n for n in (known.max_tokens, known.max_completion_tokens) if n is not None]
        fields, disguised = decode_fields(body), is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=max(limits, default=None),
            answers=1 if known.n is None else known.n,
            service_tier=known.service_tier,
            client_user=known.user,
            wants_usage=options is not None and bool(options.include_usage),
            named=named_objects("chat", body, fields, disguised=disguised),
            features=billable_features(body, fields, disguised=disguised),
            models=named_models(body, fields, disguised=disguised),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        """A stream is always asked for its usage; the reader strips what the client did not."""
        fields: dict[str, Any] = dict(request.fields)
        fields["model"] = model
        if request.stream and not request.wants_usage:
            raw = fields.get("stream_options", NULL)
            options = {} if raw == NULL else _fields.decode(raw)
            fields["stream_options"] = {**options, "include_usage": True}
        return fields

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        answer = decode_answer(body, _answer)
        report = report_in(answer.usage)
        if report is None:
            return None
        tokens = usage_of_openai(report, answer.service_tier)
        return tokens if _CITATION not in body else _with_search(tokens)

    def model_of_answer(self, body: bytes) -> str | None:
        return decode_answer(body, _answer).model

    def text_of_answer(self, body: bytes) -> bytes:
        found = _texts_of(decode_answer(body, _texts))
        return "".join(text for text in found if text is not None).encode()

    def has_failed(self, body: bytes) -> bool:
        return False

    def made_by(self, request: CallRequest, body: bytes) -> Made:
        """The recording of a spoken answer, which the next call may name."""
        if not request.features.audio_output or b'"audio"' not in body:
            return NOTHING_MADE
        return Made(objects=brought_objects("chat", body))

    def reader(self, request: CallRequest) -> "ChatReader":
        return ChatReader(
            wants_usage=request.wants_usage,
            speaks=request.features.audio_output,
            asked_tier=request.service_tier,
        )

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return openai_answer(error)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        return frame(_encode({"error": openai_error(error)}))


class ChatReader:
    """Ends at `[DONE]`; the usage comes in a chunk of its own with no choices.

    Some servers report it in each chunk, for what has come so far.
    """

    def __init__(
        self, *, wants_usage: bool, speaks: bool = False, asked_tier: str | None = None
    ) -> None:
        self.done = False
        self.failed = False
        self._speaks = speaks
        self._wants_usage = wants_usage
        self._asked_tier = asked_tier
        self._tier: str | None = None
        self._report: Report = {}
        self._reported: TokenUsage | None = None
        self._is_final = False
        self._kept = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        if frame.endswith(_NULL_USAGE) and b'"error"' not in frame:
            # Nearly every frame of a stream that was asked for its usage. At the very end it can
            # only be a member of the outermost object, so no parsing is needed to take it out.
            self._kept.keep(frame)
            return frame if self._wants_usage else frame[: -len(_NULL_USAGE)] + b"}\n\n"
        if b'"usage"' in frame:
            return self._read_usage(frame)
        if b"[DONE]" in frame and data_of(frame).strip() == b"[DONE]":
            self.done = True
        elif b'"error"' in frame and _reports_error(data_of(frame)):
            self.failed = True
        else:
            self._kept.keep(frame)
        return frame

    def _read_usage(self, frame_bytes: bytes) -> bytes:
        data = data_of(frame_bytes)
        try:
            fields = _fields.decode(data)
            answer = _answer.decode(data)
        except UNREADABLE:
            self._kept.keep(frame_bytes)
            return frame_bytes
        self.failed = answer.error not in (ABSENT, NULL)
        no_choices = _is_empty(answer.choices)
        reported = answer.usage not in (ABSENT, NULL)
        if not no_choices:
            self._kept.keep(frame_bytes)
        if reported:
            self._take(answer, is_final=no_choices)
        if self._wants_usage or "usage" not in fields:
            return frame_bytes
        if reported and no_choices:
            return b""
        del fields["usage"]
        return frame(_encode(fields))

    def _take(self, answer: _Answer, *, is_final: bool) -> None:
        report = report_in(answer.usage)
        if report is None:
            return
        self._report = merged(self._report, report)
        self._tier = answer.service_tier or self._tier
        self._reported = usage_of_openai(self._report, self._tier)
        self._is_final = is_final
        if total_output(self._reported):
            self._kept.mark_counted()

    def is_whole(self) -> bool:
        """The chunk with the usage alone is the last that any server owes but for `[DONE]`."""
        if self._reported is None:
            return False
        ends = self._kept.containing(b'"finish_reason"')
        return self._is_final or any(map(_FINISH_REASON.search, ends))

    def usage(self) -> TokenUsage | None:
        reported = self._reported
        if reported is None or (self._kept.has_uncounted() and self.text()):
            return None
        if not total_input(reported) and self.was_delivered():
            return None
        return self._mended(reported, self._told_tier())

    def _mended(self, reported: TokenUsage, tier: str | None) -> TokenUsage:
        """With what other chunks than the one with the usage tell."""
        if tier != reported.service_tier:
            reported = msgspec.structs.replace(reported, service_tier=tier)
        return _with_search(reported) if self._kept.contain(_CITATION) else reported

    def _told_tier(self) -> str | None:
        """All chunks tell it, where any does."""
        first = self._kept.first() if self._tier is None else b""
        if b'"service_tier"' in first:
            try:
                return _answer.decode(data_of(first)).service_tier
            except UNREADABLE:
                pass
        return self._tier

    def model(self) -> str | None:
        """All chunks tell it."""
        try:
            return _answer.decode(data_of(self._kept.first())).model
        except UNREADABLE:
            return None

    def was_delivered(self) -> bool:
        reported = self._reported
        if reported is not None and (total_output(reported) or total_input(reported)):
            return True
        return bool(self.text())

    def made(self) -> Made:
        """The first frames of a recording tell its id."""
        if self._speaks:
            for spoken in self._kept.containing(b'"audio"'):
                objects = brought_objects("chat", data_of(spoken))
                if objects:
                    return Made(objects=objects)
        return NOTHING_MADE

    def text(self) -> bytes:
        return self._kept.uncounted_text(lambda data: _texts_of(_texts.decode(data)))

    def unkept_bytes(self) -> int:
        return self._kept.uncounted_beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """At the tier that was asked for, where none was told before the stream broke off."""
        tier = tier_in_force(self._told_tier(), self._asked_tier)
        reported = TokenUsage() if self._reported is None else self._reported
        return filled(self._mended(reported, tier), input_tokens, output_tokens)


def _reports_error(data: bytes) -> bool:
    try:
        return _answer.decode(data).error not in (ABSENT, NULL)
    except UNREADABLE:
        return False


def _is_empty(choices: msgspec.Raw) -> bool:
    return bytes(choices).strip(b"[] \n") in (b"", b"null")


def _with_search(tokens: TokenUsage) -> TokenUsage:
    """With the one search that is charged for, where the usage says nothing of any."""
    if tokens.web_searches is not None:
        return tokens
    return msgspec.structs.replace(tokens, web_searches=1)


def _texts_of(texts: _Texts) -> Iterator[str | None]:
    for choice in texts.choices:
        for message in (choice.message, choice.delta):
            if message is None:
                continue
            thoughts = message.reasoning_content or message.reasoning
            yield from (message.content, thoughts, message.refusal)
            for call in message.tool_calls or ():
                if call.function is not None:
                    yield from (call.function.name, call.function.arguments)
                if call.custom is not None:
                    yield from (call.custom.name, call.custom.input)
