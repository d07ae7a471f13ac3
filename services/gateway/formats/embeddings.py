"""OpenAI Embeddings: no output tokens, and no streams."""

from typing import Any

import msgspec

from libs.common.domain.reported_counts import word_of
from libs.common.domain.usage import usage_of_embedding
from libs.common.errors import AppError, UpstreamFailed
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    KEEP_ALIVE_COMMENT,
    NO_OBJECTS,
    CallRequest,
    ErrorAnswer,
    MadeObjects,
    ModelName,
    StreamReader,
    decode_answer,
    decode_fields,
    decode_known,
    report_in,
)
from services.gateway.formats.errors import (
    OPENAI_UNKNOWN_STATUSES,
    openai_answer,
    openai_error,
)
from services.gateway.formats.headers import OPENAI_HEADERS, FormatHeaders
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import is_disguised
from services.gateway.formats.sse import frame

_encode = msgspec.json.encode


class _Body(msgspec.Struct):
    model: ModelName
    user: str | None = None


class _EmbeddingAnswer(msgspec.Struct):
    model: Any = None
    usage: msgspec.Raw = ABSENT


_body = msgspec.json.Decoder(_Body)
_answer = msgspec.json.Decoder(_EmbeddingAnswer)


class Embeddings:
    name: ClientFormat = "embeddings"
    path: str = "/v1/embeddings"
    keep_alive: bytes = KEEP_ALIVE_COMMENT
    headers: FormatHeaders = OPENAI_HEADERS
    generates: bool = False
    unknown_statuses: frozenset[int] = OPENAI_UNKNOWN_STATUSES
    untagged: frozenset[str] = frozenset()
    query_parameters: frozenset[str] = frozenset()

    def decode(self, body: bytes) -> CallRequest:
        fields = decode_fields(body)
        known = decode_known(body, fields, _body)
        disguised = is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=False,
            max_output_tokens=0,
            client_user=known.user,
            models=named_models(body, fields, disguised=disguised),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        return {**request.fields, "model": model}

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        report = report_in(decode_answer(body, _answer).usage)
        return None if report is None else usage_of_embedding(report)

    def model_of_answer(self, body: bytes) -> str | None:
        return word_of(decode_answer(body, _answer).model)

    def text_of_answer(self, body: bytes) -> bytes:
        """Empty, since vectors are not made of tokens."""
        return b""

    def has_failed(self, body: bytes) -> bool:
        return False

    def objects_of_answer(self, request: CallRequest, body: bytes) -> MadeObjects:
        return NO_OBJECTS

    def reader(self, request: CallRequest) -> StreamReader:
        raise UpstreamFailed("The provider answered with a stream instead of embeddings.")

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return openai_answer(error)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        return frame(_encode({"error": openai_error(error)}))
