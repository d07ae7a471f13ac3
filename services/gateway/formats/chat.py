"""OpenAI Chat Completions."""

from typing import Any

import msgspec

from libs.common.domain.reported_counts import word_of
from libs.common.domain.usage import usage_of_openai
from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    KEEP_ALIVE_COMMENT,
    NO_OBJECTS,
    NULL,
    CallRequest,
    ErrorAnswer,
    MadeObjects,
    ModelName,
    decode_answer,
    decode_fields,
    decode_known,
    report_in,
)
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.chat_stream import ChatReader
from services.gateway.formats.chat_wire import (
    CITATION,
    chat_answer,
    chat_texts,
    texts_of,
    with_search,
)
from services.gateway.formats.errors import (
    OPENAI_UNKNOWN_STATUSES,
    openai_answer,
    openai_error,
)
from services.gateway.formats.headers import OPENAI_HEADERS, FormatHeaders
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import brought_objects, is_disguised, named_objects
from services.gateway.formats.sse import frame

_encode = msgspec.json.encode


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


_body = msgspec.json.Decoder(_Body)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Chat:
    name: ClientFormat = "chat"
    path: str = "/v1/chat/completions"
    keep_alive: bytes = KEEP_ALIVE_COMMENT
    headers: FormatHeaders = OPENAI_HEADERS
    generates: bool = True
    unknown_statuses: frozenset[int] = OPENAI_UNKNOWN_STATUSES
    untagged: frozenset[str] = frozenset()
    query_parameters: frozenset[str] = frozenset()

    def decode(self, body: bytes) -> CallRequest:
        fields = decode_fields(body)
        known = decode_known(body, fields, _body)
        options = known.stream_options
        # The provider decides which of the two counts; some know only the older one.
        limits = [n for n in (known.max_tokens, known.max_completion_tokens) if n is not None]
        disguised = is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=max(limits, default=None),
            answers=1 if known.n is None else known.n,
            service_tier=known.service_tier,
            client_user=known.user,
            wants_usage=options is not None and bool(options.include_usage),
            named_objects=named_objects("chat", body, fields, disguised=disguised),
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
        answer = decode_answer(body, chat_answer)
        report = report_in(answer.usage)
        if report is None:
            return None
        tokens = usage_of_openai(report, answer.service_tier)
        return tokens if CITATION not in body else with_search(tokens)

    def model_of_answer(self, body: bytes) -> str | None:
        return word_of(decode_answer(body, chat_answer).model)

    def text_of_answer(self, body: bytes) -> bytes:
        texts = texts_of(decode_answer(body, chat_texts))
        return "".join(text for text in texts if text is not None).encode()

    def has_failed(self, body: bytes) -> bool:
        return False

    def objects_of_answer(self, request: CallRequest, body: bytes) -> MadeObjects:
        """The recording of a spoken answer, which the next call may name."""
        if not request.features.audio_output or b'"audio"' not in body:
            return NO_OBJECTS
        return MadeObjects(objects=brought_objects("chat", body))

    def reader(self, request: CallRequest) -> ChatReader:
        return ChatReader(
            wants_usage=request.wants_usage,
            has_audio=request.features.audio_output,
            requested_tier=request.service_tier,
        )

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return openai_answer(error)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        return frame(_encode({"error": openai_error(error)}))
