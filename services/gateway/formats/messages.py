"""Anthropic Messages."""

from itertools import chain
from typing import Any

import msgspec

from libs.common.domain.message_usage import usage_in_message, with_container
from libs.common.domain.reported_counts import word_of
from libs.common.errors import AppError
from libs.common.schemas.price import FAST
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    NULL,
    CallRequest,
    ErrorAnswer,
    MadeObjects,
    ModelName,
    decode_answer,
    decode_fields,
    decode_known,
)
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.errors import anthropic_answer
from services.gateway.formats.headers import ANTHROPIC_HEADERS, FormatHeaders
from services.gateway.formats.messages_stream import MessagesReader
from services.gateway.formats.messages_wire import (
    REFUSAL,
    message_answer,
    message_content,
    objects_in,
    texts_of,
)
from services.gateway.formats.named_models import named_models
from services.gateway.formats.objects import is_disguised, named_objects
from services.gateway.formats.sse import frame


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Body(msgspec.Struct):
    model: ModelName
    stream: bool | None = None
    max_tokens: int | None = None
    service_tier: str | None = None
    metadata: _Metadata | None = None


# Types of context edits that run the model for a summary.
_COMPACTION = b"compact"
# The next call may name a call that has one of these.
_NAMED_LATER = ("thread", "diagnostics")

_body = msgspec.json.Decoder(_Body)


class Messages:
    name: ClientFormat = "messages"
    path: str = "/v1/messages"
    keep_alive: bytes = frame(b'{"type":"ping"}', event="ping")
    headers: FormatHeaders = ANTHROPIC_HEADERS
    generates: bool = True
    unknown_statuses: frozenset[int] = frozenset()
    # The end user, whom the entry has already.
    untagged: frozenset[str] = frozenset({"user_id"})
    # Anthropic's SDK asks for beta features so; OpenAI's endpoints that take a body have no query.
    query_parameters: frozenset[str] = frozenset({"beta"})

    def decode(self, body: bytes) -> CallRequest:
        fields = decode_fields(body)
        known = decode_known(body, fields, _body)
        disguised = is_disguised(body)
        return CallRequest(
            model=known.model,
            stream=bool(known.stream),
            max_output_tokens=known.max_tokens,
            service_tier=known.service_tier,
            client_user=None if known.metadata is None else known.metadata.user_id,
            named_objects=named_objects("messages", body, fields, disguised=disguised),
            keeps_answer=any(fields.get(name, NULL) != NULL for name in _NAMED_LATER),
            compacts=_COMPACTION in bytes(fields.get("context_management", ABSENT)),
            features=billable_features(body, fields, disguised=disguised),
            models=named_models(body, fields, disguised=disguised),
            fields=fields,
        )

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        return {**request.fields, "model": model}

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        answer = decode_answer(body, message_answer)
        tokens = None if answer.usage in (ABSENT, NULL) else usage_in_message(answer.usage)
        if tokens is None:
            return None
        tokens = with_container(tokens, ran_code=answer.container != NULL)
        if answer.stop_reason == REFUSAL and not self.text_of_answer(body):
            return msgspec.structs.replace(tokens, unbilled=True)
        return tokens

    def model_of_answer(self, body: bytes) -> str | None:
        return word_of(decode_answer(body, message_answer).model)

    def text_of_answer(self, body: bytes) -> bytes:
        texts = chain.from_iterable(map(texts_of, decode_answer(body, message_content).content))
        return "".join(text for text in texts if text is not None).encode()

    def has_failed(self, body: bytes) -> bool:
        return False

    def objects_of_answer(self, request: CallRequest, body: bytes) -> MadeObjects:
        return MadeObjects(
            decode_answer(body, message_answer).id if request.keeps_answer else None,
            objects_in(body),
        )

    def reader(self, request: CallRequest) -> MessagesReader:
        return MessagesReader(
            FAST if request.features.fast else None, keeps_answer=request.keeps_answer
        )

    def error(self, error: AppError, request_id: str) -> ErrorAnswer:
        return anthropic_answer(error, request_id)

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        return frame(anthropic_answer(error, request_id).body, event="error")
