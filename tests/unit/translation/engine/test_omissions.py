"""Parts of an answer that the client's format has no word for are named, whole and streamed."""

import json
from typing import Any

import pytest
from anthropic._streaming import SSEDecoder as AnthropicDecoder
from openai._streaming import SSEDecoder as OpenAIDecoder

from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import BASES
from tests.unit.translation.engine.calls import answered, streamed, translation

HEADER = b"x-gateway-dropped-content"
COMPACTION = {"type": "compaction", "content": "what was"}
UPLOAD = {"type": "container_upload", "file_id": "file_1"}
RAN = {"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {"code": "1"}}
OUTPUT = {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {}}
SEARCH = {"type": "server_tool_use", "id": "w", "name": "web_search", "input": {"query": "q"}}
ODD = {"type": "Odd, as can be\r\ndata: 1"}
TEXT = {"type": "text", "text": "Done."}
PICTURE = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": "aGk="}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Done.", "annotations": []}],
}


def of_claude(*blocks: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    usage: dict[str, Any] = {"input_tokens": 3, "output_tokens": 2}
    head: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "usage": usage,
    }
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {**head, "content": []}}]
    for index, block in enumerate(blocks):
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_stop", "index": index},
        ]
    events += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    return {**head, "content": list(blocks), **end}, frames(events)


def of_openai(*items: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    head: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "usage": usage,
    }
    response = {**head, "status": "completed", "output": list(items)}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**head, "output": []}}
    ]
    events += (
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate(items)
    )
    return response, frames([*events, {"type": "response.completed", "response": response}])


def frames(events: list[dict[str, Any]]) -> list[bytes]:
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


CLAUDE = ("claude-haiku-4-5", "messages", of_claude(RAN, OUTPUT, SEARCH, COMPACTION, UPLOAD, TEXT))
OF_CLAUDE = (
    "content[0].code_execution",
    "content[1].code_execution",
    "content[3].compaction",
    "content[4].container_upload",
)
GPT = ("gpt-5-mini", "responses", of_openai(PICTURE, SAID))


@pytest.mark.parametrize(
    ("client", "answer", "named"),
    [
        ("chat", CLAUDE, OF_CLAUDE),
        ("responses", CLAUDE, OF_CLAUDE),
        ("messages", CLAUDE, ()),
        ("chat", GPT, ("output[0].image_generation_call",)),
        ("messages", GPT, ("output[0].image_generation_call",)),
        ("responses", GPT, ()),
        ("chat", ("claude-haiku-4-5", "messages", of_claude(ODD, TEXT)), ("content[0]",)),
    ],
)
def test_omissions_are_named(
    client: ClientFormat, answer: tuple[str, ClientFormat, Any], named: tuple[str, ...]
) -> None:
    name, to, (whole, stream) = answer
    body = BASES[client] | {"stream": False}
    client_answer = answered(translation(client, body, name, to), whole)
    streaming = streamed(translation(client, body | {"stream": True}, name, to), stream).written

    expected = [(HEADER, ", ".join(named).encode())] if named else []
    assert [header for header in client_answer.headers if header[0] == HEADER] == expected
    comments = [line for line in streaming.split(b"\n") if line.startswith(b":")]
    assert comments == [b": %b: %b" % (HEADER, path.encode()) for path in named]
    assert b"Done." in client_answer.body
    assert b"Done." in streaming


@pytest.mark.parametrize("client", ["chat", "responses"])
def test_an_sdk_sees_a_stream_without_the_comments(client: ClientFormat) -> None:
    _, stream = CLAUDE[2]
    body = BASES[client] | {"stream": True}
    output = streamed(translation(client, body, "claude-haiku-4-5", "messages"), stream).written
    without = b"".join(
        frame + b"\n\n" for frame in output.split(b"\n\n") if frame and frame[:1] != b":"
    )
    assert without != output
    for decoder in (OpenAIDecoder, AnthropicDecoder):
        actual, expected = (
            [event.data for event in decoder().iter_bytes(iter([data]))]
            for data in (output, without)
        )
        assert actual == expected
