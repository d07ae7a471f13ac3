"""How answers are told that providers give every day: each row an answer and its right value."""

import json
from typing import Any, NamedTuple

import pytest

from libs.common.errors import UpstreamRefused
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats import FORMATS
from services.gateway.formats.sse import FrameSplitter, data_of
from services.gateway.upstream.translation.engine import Translation
from tests.unit.translation.coverage.bodies import BASES
from tests.unit.translation.engine.calls import CALL_ID, answered, streamed, translation
from tests.unit.translation.test_cases import at

VLLM, GEMINI, CLAUDE = "hosted_vllm/qwen", "gemini/gemini-2.5-pro", "claude-haiku-4-5"
CUT = [{"type": "text", "text": "cut"}]
WINDOW = "model_context_window_exceeded"


def road(client: ClientFormat, name: str, to: ClientFormat) -> Translation:
    return translation(client, BASES[client] | {"stream": True}, name, to)


def completion(reason: str, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice | {"finish_reason": reason}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
    }


def message(stop: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": CUT,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 500},
    }


def call(index: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}


class Whole(NamedTuple):
    client: ClientFormat
    name: str
    to: ClientFormat
    answer: dict[str, Any]
    right: dict[str, Any]
    status: int = 200


BROKEN = [call(0, "c1", "f", '{"a": ')]
WHOLE = {
    "a call that the limit cut": Whole(
        "messages", VLLM, "chat", completion("length", tool_calls=BROKEN),
        {"stop_reason": "max_tokens", "content": [], "usage.output_tokens": 500},
    ),
    "a call that is broken": Whole(
        "messages", VLLM, "chat", completion("tool_calls", tool_calls=BROKEN),
        {"error.type": "api_error"}, 502,
    ),
    "a call whose provider could not read it": Whole(
        "chat", GEMINI, "chat", completion("malformed_function_call"),
        {"error.code": "upstream_malformed_call"}, 502,
    ),
    "calls and an ordinary stop": Whole(
        "messages", VLLM, "chat", completion("stop", tool_calls=[call(0, "c1", "f", "")]),
        {"stop_reason": "tool_use", "content.0.input": {}},
    ),
    "a refusal in Messages": Whole(
        "messages", VLLM, "chat", completion("stop", refusal="No."),
        {"stop_reason": "refusal", "content": [{"type": "text", "text": "No."}]},
    ),
    "a refusal in Responses": Whole(
        "responses", VLLM, "chat", completion("stop", refusal="No."),
        {"output.0.content": [{"type": "refusal", "refusal": "No."}], "status": "completed"},
    ),
    "a full window in chat": Whole(
        "chat", CLAUDE, "messages", message(WINDOW), {"choices.0.finish_reason": "length"}
    ),
    "a full window in Responses": Whole(
        "responses", CLAUDE, "messages", message(WINDOW),
        {"status": "incomplete", "incomplete_details.reason": "max_output_tokens"},
    ),
    "a paused turn in chat": Whole(
        "chat", CLAUDE, "messages", message("pause_turn"), {"choices.0.finish_reason": "length"}
    ),
    "a paused turn in Responses": Whole(
        "responses", CLAUDE, "messages", message("pause_turn"), {"status": "incomplete"}
    ),
    "a blocked answer in chat": Whole(
        "chat", CLAUDE, "messages", message("refusal"),
        {"choices.0.finish_reason": "content_filter", "choices.0.message.content": "cut"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", WHOLE.values(), ids=WHOLE)
def test_whole_answers(row: Whole) -> None:
    client_answer = answered(road(row.client, row.name, row.to), row.answer)
    assert client_answer.status == row.status
    body = json.loads(client_answer.body)
    assert {path: at(body, path) for path in row.right} == row.right
    # Each is charged, and so never tried again.
    assert client_answer.is_final
    assert client_answer.usage is not None
    assert (client_answer.usage.input_text, client_answer.usage.output_text) == (1000, 500)


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps(head | {"choices": [choice]}).encode() + b"\n\n"


def events(client: ClientFormat, name: str, *frames: bytes) -> list[dict[str, Any]]:
    found = streamed(road(client, name, "chat"), frames)
    payloads = [data_of(frame) for frame in FrameSplitter().feed(found.written)]
    return [json.loads(data) for data in payloads if data != b"[DONE]"]


TWO = chunk(tool_calls=[call(0, "call_1", "f", '{"a":1}'), call(1, "call_2", "g", "{}")])


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
@pytest.mark.parametrize("name", [VLLM, "gpt-4.1-mini", GEMINI])
def test_two_calls_in_one_chunk(name: str, reason: str) -> None:
    stream = events("messages", name, TWO, chunk(reason), b"data: [DONE]\n\n")
    begun = [each["content_block"] for each in stream if each["type"] == "content_block_start"]
    assert [(block["id"], block["name"]) for block in begun] == [("call_1", "f"), ("call_2", "g")]
    deltas = [each for each in stream if each["type"] == "content_block_delta"]
    assert [(each["index"], each["delta"]["partial_json"]) for each in deltas] == [
        (0, '{"a":1}'),
        (1, "{}"),
    ]
    assert stream[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_call_without_arguments() -> None:
    stream = events(
        "responses", VLLM, chunk(tool_calls=[call(0, "call_1", "f", "")]), chunk("tool_calls")
    )
    assert stream[-1]["response"]["output"][0]["arguments"] == "{}"


def test_a_refusal_in_a_stream() -> None:
    stream = events("messages", VLLM, chunk(refusal="No."), chunk("stop"))
    assert [each["delta"]["text"] for each in stream if each["type"] == "content_block_delta"] == [
        "No."
    ]
    assert stream[-2]["delta"]["stop_reason"] == "refusal"
    stream = events("responses", VLLM, chunk(refusal="No."), chunk("stop"))
    assert stream[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_signature_within_an_id_goes_to_thinking() -> None:
    signed = call(0, "call_1__thought__QUJD", "f", "{}")
    stream = events("responses", GEMINI, chunk(tool_calls=[signed]), chunk("tool_calls"))
    thought, called = stream[-1]["response"]["output"]
    assert called["call_id"] == "call_1"
    assert thought["encrypted_content"].startswith("gws1.google.")
    assert "QUJD" not in json.dumps(called)


def test_a_stream_that_breaks_off_after_a_usage_is_not_whole() -> None:
    broken = streamed(road("messages", VLLM, "chat"), [chunk(content="a")])
    assert broken.error is not None
    assert b"event: error" in broken.written
    assert b"message_stop" not in broken.written


def test_errors_amid_a_stream_of_responses_are_numbered() -> None:
    failing = b'data: {"error":{"message":"slow down","type":"overloaded_error"}}\n\n'
    stream = events("responses", VLLM, chunk(content="a"), failing)
    assert [each["sequence_number"] for each in stream] == list(range(len(stream)))
    assert [each["type"] for each in stream[-2:]] == ["error", "response.failed"]
    assert stream[-1]["response"]["error"]["message"] == "slow down"


TOO_LONG_OF_CLAUDE = {
    "type": "error",
    "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"},
}
TOO_LONG_OF_OPENAI = {
    "error": {
        "message": "This model's maximum context length is 8 tokens.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
}


@pytest.mark.parametrize(
    ("client", "name", "to", "answer"),
    [
        ("chat", CLAUDE, "messages", TOO_LONG_OF_CLAUDE),
        ("responses", CLAUDE, "messages", TOO_LONG_OF_CLAUDE),
        ("messages", "gpt-4.1", "chat", TOO_LONG_OF_OPENAI),
        ("messages", VLLM, "chat", TOO_LONG_OF_OPENAI),
    ],
)
def test_agents_see_that_a_prompt_is_too_long(
    client: ClientFormat, name: str, to: ClientFormat, answer: dict[str, Any]
) -> None:
    with pytest.raises(UpstreamRefused) as refused:
        answered(road(client, name, to), answer, 400)
    body = json.loads(FORMATS[client].error(refused.value, CALL_ID).body)
    assert refused.value.status == 400
    if client == "messages":
        assert body["error"]["message"].startswith("prompt is too long")
    else:
        assert body["error"]["code"] == "context_length_exceeded"
