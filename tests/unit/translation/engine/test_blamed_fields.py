"""A provider's error names its own fields: the client is told of its own."""

from typing import Any

import pytest

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.engine.calls import answered, streamed, translation

FUNCTION: dict[str, Any] = {"type": "object", "properties": {}}
CHAT: dict[str, Any] = {
    "model": "m",
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "user": "u",
    "stop": ["x"],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "user", "content": "go on"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": FUNCTION}},
        {"type": "function", "function": {"name": "g", "parameters": FUNCTION}},
    ],
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "max_output_tokens": 100,
    "text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": FUNCTION}},
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": FUNCTION}],
}
RESPONSES["text"]["format"]["schema"] = FUNCTION | {"additionalProperties": False}
INSIDE = CHAT | {
    "messages": [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": "d"},
    ]
}
NARROWED = CHAT | {
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "g"}}],
        },
    }
}
BODIES: dict[ClientFormat, dict[str, Any]] = {"chat": CHAT, "responses": RESPONSES}


def error(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


def refusal(client: ClientFormat, message: str, body: dict[str, Any] | None = None) -> AppError:
    sent = translation(client, body or BODIES[client], "claude-haiku-4-5", "messages")
    with pytest.raises(AppError) as raised:
        answered(sent, error(message), 400)
    return raised.value


@pytest.mark.parametrize(
    ("client", "message", "param"),
    [
        ("chat", "max_tokens: 300000 > 64000", "max_completion_tokens"),
        ("chat", "temperature: range: 0..1", "temperature"),
        ("chat", "metadata.user_id: no emails", "user"),
        ("chat", "stop_sequences.0: only blanks", "stop"),
        ("chat", "messages.0.content.1.text: cannot be empty", "messages[1].content[1]"),
        ("chat", "messages.0.content: too long", "messages[1]"),
        ("chat", "messages.1.content.0.tool_use.id: bad", "messages[2].tool_calls[0]"),
        ("chat", "messages.2.content.0.tool_result.tool_use_id: unknown", "messages[3]"),
        ("chat", "messages.3.content.0.text: cannot be empty", "messages[4]"),
        ("chat", "messages: at least one message is required", "messages"),
        ("chat", "tools.1.custom.input_schema.type: Field required", "tools[1]"),
        ("responses", "max_tokens: 300000 > 64000", "max_output_tokens"),
        ("responses", "messages.1.content.0.tool_use.input: bad", "input[1]"),
        ("responses", "messages.2.content.0: bad", "input[2]"),
        ("responses", "output_config.format.schema: bad", "text.format.schema"),
        # What cannot be told for certain.
        ("chat", "messages.9: bad", None),
        ("chat", "messages.0.content.7: bad", None),
        ("chat", "tools.2: bad", None),
        ("chat", "system.0.text: bad", None),
        ("chat", "`temperature` and `top_p` cannot both be specified", None),
        ("chat", "Your credit: balance is too low for this", None),
    ],
)
def test_the_clients_own_field_is_named(
    client: ClientFormat, message: str, param: str | None
) -> None:
    refused = refusal(client, message)
    assert (refused.message, refused.param) == (message, param)


@pytest.mark.parametrize(
    ("body", "message"),
    [(INSIDE, "messages.1: bad"), (INSIDE, "messages.2: bad"), (NARROWED, "tools.0: bad")],
)
def test_a_field_in_a_changed_place_is_not_blamed(body: dict[str, Any], message: str) -> None:
    assert refusal("chat", message, body).param is None


def test_the_older_word_for_a_limit_is_the_clients_own() -> None:
    body = {name: value for name, value in CHAT.items() if name != "max_completion_tokens"}
    assert refusal("chat", "max_tokens: too large", body | {"max_tokens": 9}).param == "max_tokens"


def test_a_stream_that_begins_with_an_error() -> None:
    sent = translation("chat", CHAT | {"stream": True}, "claude-haiku-4-5", "messages")
    frame = (
        b'event: error\ndata: {"type":"error","error":{"type":"invalid_request_error",'
        b'"message":"max_tokens: too large"}}\n\n'
    )
    with pytest.raises(AppError) as raised:
        streamed(sent, [], first_bytes=frame)
    assert raised.value.param == "max_completion_tokens"


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("max_output_tokens", "max_completion_tokens"),
        ("text.format.schema", "response_format.json_schema.schema"),
        ("tools[1].parameters", "tools[1]"),
        ("input[1].content", None),
        (None, None),
    ],
)
def test_openais_names(param: str | None, expected: str | None) -> None:
    body = {name: value for name, value in CHAT.items() if name != "stop"}
    sent = translation("chat", body, "gpt-4.1", "responses")
    with pytest.raises(AppError) as raised:
        answered(sent, {"error": {"message": "bad", "param": param}}, 400)
    assert raised.value.param == expected
