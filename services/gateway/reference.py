"""What the gateway's OpenAPI document says of its paths.

A body of a format of OpenAI's or Anthropic's is open: named are the fields that the gateway itself
reads, the others are the provider's or the translation's.
"""

from collections.abc import Mapping
from typing import Any

from libs.common.web.openapi import JSON, ApiOperation, Json, OperationReply, Parameter, Service
from services.gateway.endpoints.budget import OwnBudgetsView
from services.gateway.endpoints.usage import UsageView
from services.gateway.formats import FORMATS

_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 1}
_OBJECT: Json = {"type": "object"}
_TURNS: Json = {"type": "array", "items": _OBJECT}
_TOOLS: Json = {"type": "array", "items": _OBJECT}
_MODEL: Json = {
    "type": "string",
    "minLength": 1,
    "description": "The name of a route, `provider/model`, or a provider's own name of a model",
}
_STREAM: Json = {"type": "boolean", "description": "Whether the answer comes as events"}


def _open_object(required: Mapping[str, Json], others: Mapping[str, Json]) -> Json:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **others},
        "additionalProperties": True,
    }


_COMMON = {"stream": _STREAM, "tools": _TOOLS, "metadata": {"type": ["object", "null"]}}
_RESPONSES: Mapping[str, Json] = {
    **_COMMON,
    "max_output_tokens": {**_COUNT, "type": ["integer", "null"]},
    "previous_response_id": {"type": ["string", "null"]},
    "instructions": {},
    "store": {"type": ["boolean", "null"]},
    "user": _TEXT,
}
_INPUT: Json = {"type": ["string", "array"]}
_BODIES: Mapping[str, Json] = {
    "chat": _open_object(
        {"model": _MODEL, "messages": _TURNS},
        {
            **_COMMON,
            "stream_options": {"type": ["object", "null"]},
            "max_tokens": {**_COUNT, "type": ["integer", "null"]},
            "max_completion_tokens": {**_COUNT, "type": ["integer", "null"]},
            "n": {**_COUNT, "type": ["integer", "null"]},
            "service_tier": {"type": ["string", "null"]},
            "user": _TEXT,
        },
    ),
    "messages": _open_object(
        {"model": _MODEL, "messages": _TURNS, "max_tokens": _COUNT},
        {**_COMMON, "system": {"type": ["string", "array"]}, "thinking": _OBJECT},
    ),
    "count": _open_object({"model": _MODEL, "messages": _TURNS}, {"tools": _TOOLS}),
    "responses": _open_object({"model": _MODEL}, {"input": _INPUT, **_RESPONSES}),
    "embeddings": _open_object(
        {"model": _MODEL, "input": _INPUT}, {"dimensions": _COUNT, "encoding_format": _TEXT}
    ),
}

_REQUEST_ID = {"x-request-id": "The call's id, which its entry and the log have"}
_CALL = _REQUEST_ID | {
    "x-gateway-model": "The deployment's model that answered",
    "x-gateway-attempts": "Attempts that were made, this one included",
    "x-gateway-overhead-ms": "The gateway's own time",
    "x-gateway-cost-usd": "What the call costs; a stream's is only known at its end",
    "x-gateway-budget-warning": "A budget that is past its soft limit",
    "x-gateway-dropped-params": "Fields that a translation left out",
    "x-gateway-adapted-params": "Fields that a translation weakened",
    "x-gateway-dropped-content": "Parts of the answer that the format cannot express",
}
_EVENTS = "text/event-stream"
_STREAMED = frozenset(row.path for row in FORMATS.values() if row.generates)
_TAGS = Parameter(
    name="x-gateway-tags",
    place="header",
    description="Tags of the call, by commas: `name` or `name:value`.",
)
_OPENAI_ERROR: Json = _open_object(
    {"error": _open_object({"message": _TEXT, "type": _TEXT}, {"param": {}, "code": {}})}, {}
)
_ANTHROPIC_ERROR: Json = _open_object(
    {"type": {"const": "error"}, "error": _open_object({"type": _TEXT, "message": _TEXT}, {})}, {}
)
_ERRORS = {"OpenAI": _OPENAI_ERROR, "Anthropic": _ANTHROPIC_ERROR}
_EITHER: Json = {"anyOf": [_OPENAI_ERROR, _ANTHROPIC_ERROR]}
_HEALTH: Json = _open_object({"status": _TEXT}, {"checks": _OBJECT})
_RESPONSE_ID = Parameter(
    name="response_id",
    place="path",
    description="Of a response of the same account",
    schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,256}$"},
)
_MODEL_ID = Parameter(name="model", place="path", description="It may have slashes.")


def _replies(
    schema: Any, error: Json, *, streams: bool = False, headers: Mapping[str, str] = _REQUEST_ID
) -> dict[int | str, OperationReply]:
    content: dict[str, Any] = {JSON: schema}
    if streams:
        content[_EVENTS] = _TEXT
    refusal = "The request was refused; the error's code says why"
    failure = "The provider or the gateway failed"
    return {
        200: OperationReply(description="The answer", content=content, headers=headers),
        "4XX": OperationReply(description=refusal, content={JSON: error}, headers=_REQUEST_ID),
        "5XX": OperationReply(description=failure, content={JSON: error}, headers=_REQUEST_ID),
    }


def _call(path: str, name: str, summary: str, tag: str, body: str, answer: Json) -> ApiOperation:
    streams = path in _STREAMED
    return ApiOperation(
        method="POST",
        path=path,
        operation_id=name,
        summary=summary,
        tag=tag,
        parameters=[_TAGS],
        body=_BODIES[body],
        replies=_replies(answer, _ERRORS[tag], streams=streams, headers=_CALL),
    )


def _get(
    path: str, name: str, summary: str, tag: str, answer: Any, *parameters: Parameter
) -> ApiOperation:
    return ApiOperation(
        method="GET",
        path=path,
        operation_id=name,
        summary=summary,
        tag=tag,
        parameters=parameters,
        replies=_replies(answer, _EITHER),
    )


def _public_get(path: str, name: str, summary: str, content: Mapping[str, Json]) -> ApiOperation:
    replies: dict[int | str, OperationReply] = {
        200: OperationReply(description="The answer", content=content)
    }
    if path == "/ready":
        replies[503] = OperationReply(description="It cannot work now", content=content)
    return ApiOperation(
        method="GET",
        path=path,
        operation_id=name,
        summary=summary,
        tag="Service",
        replies=replies,
        keyed=False,
    )


def _stored_call(method: str, resource: str, name: str, summary: str) -> ApiOperation:
    return ApiOperation(
        method=method,
        path=f"/v1/responses/{{response_id}}{resource}",
        operation_id=name,
        summary=summary,
        tag="OpenAI",
        parameters=[_RESPONSE_ID],
        replies=_replies(_OBJECT, _OPENAI_ERROR),
    )


OPERATIONS: tuple[ApiOperation, ...] = (
    _call(
        "/v1/chat/completions",
        "create_chat_completion",
        "Answer a chat",
        "OpenAI",
        "chat",
        _open_object({"id": _TEXT, "choices": _TURNS, "model": _TEXT}, {"usage": {}}),
    ),
    _call(
        "/v1/responses",
        "create_response",
        "Answer by the Responses API",
        "OpenAI",
        "responses",
        _open_object({"id": _TEXT, "output": _TURNS, "status": _TEXT}, {"usage": {}}),
    ),
    _call(
        "/v1/responses/input_tokens",
        "count_response_tokens",
        "Count the tokens of a response's input, free of charge",
        "OpenAI",
        "responses",
        _open_object({"input_tokens": {"type": "integer"}}, {}),
    ),
    _stored_call("GET", "", "show_response", "Show a response that the provider keeps"),
    _stored_call("DELETE", "", "delete_response", "Delete a response at the provider"),
    _stored_call("GET", "/input_items", "list_input_items", "List what a kept response was given"),
    _stored_call("POST", "/cancel", "cancel_response", "Cancel what is made in the background"),
    _call(
        "/v1/embeddings",
        "create_embedding",
        "Embed texts",
        "OpenAI",
        "embeddings",
        _open_object({"data": _TURNS}, {"usage": {}}),
    ),
    _call(
        "/v1/messages",
        "create_message",
        "Answer by the Messages API",
        "Anthropic",
        "messages",
        _open_object({"id": _TEXT, "type": _TEXT, "content": _TURNS}, {"usage": {}}),
    ),
    _call(
        "/v1/messages/count_tokens",
        "count_message_tokens",
        "Count the tokens of a message's input, free of charge",
        "Anthropic",
        "count",
        _open_object({"input_tokens": {"type": "integer"}}, {}),
    ),
    _get(
        "/v1/models",
        "list_models",
        "List what the key may use, in the client's format",
        "Gateway",
        _open_object({"data": _TURNS}, {}),
    ),
    _get(
        "/v1/models/{model:path}",
        "show_model",
        "Show a model",
        "Gateway",
        _open_object({"id": _TEXT}, {}),
        _MODEL_ID,
    ),
    _get(
        "/v1/budget",
        "show_budget",
        "Show the budgets of the key and its account",
        "Gateway",
        OwnBudgetsView,
    ),
    _get("/v1/usage", "show_usage", "Show what the key used lately", "Gateway", UsageView),
    _public_get("/health", "show_health", "Show that the process runs", {JSON: _HEALTH}),
    _public_get("/ready", "show_ready", "Show that it can work", {JSON: _HEALTH}),
    _public_get("/metrics", "show_metrics", "Show metrics for Prometheus", {"text/plain": _TEXT}),
)


def describe() -> Service:
    return Service(
        title="LLM gateway",
        version="1",
        description=(
            "OpenAI's and Anthropic's APIs in front of any model: the bodies, answers and errors "
            "are those of the format of the path. The fields that the gateway reads are described."
        ),
        keys={
            "key": {"type": "http", "scheme": "bearer"},
            "x_api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        },
        operations=OPERATIONS,
    )
