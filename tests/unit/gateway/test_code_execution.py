"""Anthropic's containers for code: a use for each call that ran in one."""

import json
from typing import Any

import pytest

from services.gateway.formats import MESSAGES
from tests.unit.gateway.streams import MESSAGES_END_USAGE, frame_of, messages_stream, relay

REQUEST = MESSAGES.decode(b'{"model": "m", "stream": true}')
USAGE = {"input_tokens": 5, "output_tokens": 2}
RAN = {"code_execution": 1}


@pytest.mark.parametrize(
    ("fields", "uses"),
    [
        ({}, {}),
        ({"container": None}, {}),
        ({"container": {"id": "c1", "expires_at": "2026-11-29T12:00:00Z"}}, RAN),
        # A client's own data.
        ({"content": [{"type": "tool_use", "input": {"container": {"id": "c1"}}}]}, {}),
    ],
)
def test_a_message_names_its_container(fields: Any, uses: dict[str, int]) -> None:
    usage = MESSAGES.usage_of_answer(json.dumps({"usage": USAGE, **fields}).encode())
    assert usage is not None
    assert usage.tool_uses == uses


def test_a_stream_names_its_container_at_its_start_or_end() -> None:
    assert relay(MESSAGES, REQUEST, messages_stream(["Hi"])).usage.tool_uses == {}
    container = {"id": "c1"}
    frames = messages_stream(["Hi"])
    frames[0] = frame_of("message_start", message={"usage": USAGE, "container": container})
    assert relay(MESSAGES, REQUEST, frames).usage.tool_uses == RAN
    frames = messages_stream(["Hi"])
    delta = {"stop_reason": "end_turn", "container": container}
    frames[-2] = frame_of("message_delta", delta=delta, usage=MESSAGES_END_USAGE)
    assert relay(MESSAGES, REQUEST, frames).usage.tool_uses == RAN
