"""What is paid for is told and charged, whatever has become of the answer."""

import json
from typing import Any

import pytest

from libs.common.errors import UpstreamFailed, UpstreamRefused
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import BASES
from tests.unit.translation.engine.calls import answered, streamed, translation

OPENAI_USAGE = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
CHAT_USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
FAILED = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "failed",
    "error": {"code": "server_error", "message": "boom"},
    "output": [],
    "usage": OPENAI_USAGE,
}
UNREADABLE = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"content": 5}, "finish_reason": "stop"}],
    "usage": CHAT_USAGE,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": "no list",
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1000, "output_tokens": 500},
}
LOST: tuple[tuple[ClientFormat, str, ClientFormat, dict[str, Any]], ...] = (
    ("messages", "gpt-5-mini", "responses", FAILED),
    ("chat", "gpt-5-mini", "responses", FAILED),
    ("messages", "gpt-4.1", "chat", UNREADABLE),
    ("responses", "gpt-4.1", "chat", UNREADABLE),
    ("messages", "gpt-4.1", "chat", {**UNREADABLE, "error": {"message": "boom"}}),
    ("chat", "claude-haiku-4-5", "messages", MESSAGE),
)


@pytest.mark.parametrize(("client", "name", "to", "answer"), LOST)
def test_a_lost_answer_costs_what_it_reports(
    client: ClientFormat, name: str, to: ClientFormat, answer: dict[str, Any]
) -> None:
    sent = translation(client, BASES[client], name, to)
    client_answer = answered(sent, answer)
    assert client_answer.status >= 500
    assert "error" in json.loads(client_answer.body)
    assert client_answer.usage is not None
    assert (client_answer.usage.input_text, client_answer.usage.output_text) == (1000, 500)
    assert client_answer.is_final
    assert (b"x-should-retry", b"false") in client_answer.headers


@pytest.mark.parametrize(("client", "name", "to", "answer"), LOST)
def test_a_lost_answer_without_usage_may_be_retried(
    client: ClientFormat, name: str, to: ClientFormat, answer: dict[str, Any]
) -> None:
    sent = translation(client, BASES[client], name, to)
    with pytest.raises((UpstreamFailed, UpstreamRefused)):
        answered(sent, {**answer, "usage": None})


def _failing(usage: dict[str, int] | None) -> list[bytes]:
    begun = {**FAILED, "status": "in_progress", "error": None, "usage": None}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {
            "type": "response.failed",
            "sequence_number": 1,
            "response": {**FAILED, "usage": usage},
        },
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def test_a_stream_that_fails_at_once_costs_what_it_reports() -> None:
    sent = translation("messages", BASES["messages"] | {"stream": True}, "gpt-5-mini", "responses")
    first_bytes = b"".join(_failing(OPENAI_USAGE))
    found = streamed(sent, [first_bytes], first_bytes)
    assert b"event: error" in found.written
    assert found.stream.translation is not None
    usage = found.stream.translation.usage()
    assert usage is not None
    assert (usage.input_text, usage.output_text) == (1000, 500)
    first_bytes = b"".join(_failing(None))
    with pytest.raises(UpstreamRefused, match="boom"):
        streamed(sent, [first_bytes], first_bytes)
