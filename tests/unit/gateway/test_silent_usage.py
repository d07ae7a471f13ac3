"""Zeros beside text are not a report, whoever sends them and wherever; what is reported stays.

Servers were seen to send them all: envoy's AI gateway (issues 1631, 2239), sglang (20830, 33419),
vLLM (19263).
"""

import json
from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage, UsageSource
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.formats import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from services.gateway.formats.base import Format
from services.gateway.usage.estimator import Estimator
from tests.unit.gateway.streams import (
    ByBytes,
    chat_chunk,
    data,
    frame_of,
    messages_stream,
    relay,
)

TEXT = "x" * 40
TEXT_TOKENS = 10
ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
NO_TOKENS = {"input_tokens": 0, "output_tokens": 0}
ANSWERS: dict[str, tuple[Format, dict[str, Any]]] = {
    "chat": (CHAT, {"choices": [{"message": {"content": TEXT}}]}),
    "messages": (MESSAGES, {"content": [{"type": "text", "text": TEXT}]}),
    "responses": (RESPONSES, {"output": [{"content": [{"text": TEXT}]}]}),
    "embeddings": (EMBEDDINGS, {"data": [{"embedding": [0.5]}]}),
}
SILENCE = {"chat": ZEROS, "messages": NO_TOKENS, "responses": NO_TOKENS, "embeddings": ZEROS}


async def meter_answer(name: str, usage: Any, **fields: Any) -> tuple[TokenUsage, UsageSource]:
    """As the handler takes it."""
    client_format, answer = ANSWERS[name]
    sent = b'{"model": "m", "input": "0123456789012345"}'
    request = client_format.decode(sent if name != "chat" else sent.replace(b"input", b"messages"))
    body = json.dumps(answer | {"usage": usage} | fields).encode()
    priced = PricedRequest(request=request, prices={}, input_tokens=1)
    reported = client_format.usage_of_answer(body)
    return await Estimator(ByBytes()).of_answer(client_format, priced, body, reported)


@pytest.mark.parametrize("name", ANSWERS)
async def test_zeros_beside_text_are_estimated(name: str) -> None:
    usage, source = await meter_answer(name, SILENCE[name])
    assert source == "estimated"
    assert usage.input_text
    assert usage.input_text > 0
    assert usage.output_text == (0 if name == "embeddings" else TEXT_TOKENS)


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
async def test_one_side_that_is_reported_stays(name: str) -> None:
    inputs, outputs, *_ = SILENCE[name]
    usage, source = await meter_answer(name, SILENCE[name] | {inputs: 5000})
    assert (usage.input_text, usage.output_text, source) == (5000, TEXT_TOKENS, "estimated")
    assert usage.notes == ("output_estimated",)
    usage, source = await meter_answer(name, {outputs: 700, inputs: None})
    assert (usage.output_text, source, usage.notes) == (700, "estimated", ("input_estimated",))
    assert usage.input_text


async def test_a_total_of_an_embedding_is_its_input() -> None:
    usage, source = await meter_answer("embeddings", {"prompt_tokens": 0, "total_tokens": 8000})
    assert (usage.input_text, source) == (8000, "provider")


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
async def test_zeros_of_an_answer_without_text_are_believed(name: str) -> None:
    empty: dict[str, Any] = {"choices": [], "content": [], "output": []}
    usage, source = await meter_answer(name, SILENCE[name], **empty)
    assert (usage.input_text, usage.output_text, source) == (0, 0, "provider")


def chat_stream(*usages: dict[str, Any], texts: tuple[str, ...] = (TEXT,)) -> list[bytes]:
    usage_frames = [data({"choices": [], "usage": usage}) for usage in usages]
    return [*(data(chat_chunk(text)) for text in texts), *usage_frames, b"data: [DONE]\n\n"]


REQUEST = CHAT.decode(b'{"model": "m", "messages": [], "stream": true}')


def test_a_chat_stream_of_zeros_is_estimated() -> None:
    result = relay(CHAT, REQUEST, chat_stream(ZEROS), input_tokens=33)
    assert result.usage == TokenUsage(input_text=33, output_text=TEXT_TOKENS)
    assert (result.status, result.usage_source) == ("ok", "estimated")


def test_zeros_after_the_usage_take_nothing_away() -> None:
    counts = {"prompt_tokens": 5000, "completion_tokens": 20, "total_tokens": 5020}
    for usages in ((counts, ZEROS), (ZEROS, counts), (counts, counts)):
        result = relay(CHAT, REQUEST, chat_stream(*usages))
        assert (result.usage, result.usage_source) == (
            TokenUsage(input_text=5000, output_text=20),
            "provider",
        )


def test_usage_after_the_end_comes_too_late() -> None:
    """The answer is over; what is not counted by then is estimated."""
    late = data({"choices": [], "usage": {"prompt_tokens": 5000, "completion_tokens": 20}})
    result = relay(CHAT, REQUEST, [*chat_stream(), late], input_tokens=33)
    assert result.usage == TokenUsage(input_text=33, output_text=TEXT_TOKENS)
    assert (result.status, result.usage_source) == ("ok", "estimated")


def test_a_chat_stream_that_counts_no_output_is_charged_for_its_text() -> None:
    result = relay(CHAT, REQUEST, chat_stream({"prompt_tokens": 12, "completion_tokens": 0}))
    assert (result.usage.input_text, result.usage.output_text) == (12, TEXT_TOKENS)
    assert (result.usage_source, result.usage.notes) == ("estimated", ("output_estimated",))


def test_text_after_the_last_report_of_a_stream_is_charged_for() -> None:
    running = {"prompt_tokens": 100, "completion_tokens": 3}
    frames = [
        data(chat_chunk("abc", usage=running)),
        data(chat_chunk(TEXT)),
        b"data: [DONE]\n\n",
    ]
    result = relay(CHAT, REQUEST, frames)
    assert (result.usage.input_text, result.usage.output_text) == (100, 3 + TEXT_TOKENS)
    assert result.usage_source == "estimated"


def message_frames(start: dict[str, Any], end: dict[str, Any]) -> list[bytes]:
    frames = messages_stream([TEXT])
    frames[0] = frame_of("message_start", message={"id": "m-1", "usage": start})
    frames[-2] = frame_of("message_delta", delta={"stop_reason": "end_turn"}, usage=end)
    return frames


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # As an open pull request of sglang has it.
        ({"input_tokens": 1000}, {"input_tokens": 0, "output_tokens": 50}, (1000, 50)),
        ({"input_tokens": 0}, {"input_tokens": 1000, "output_tokens": 50}, (1000, 50)),
        ({"input_tokens": 1000, "output_tokens": 70}, {"output_tokens": 9}, (1000, 9)),
    ],
)
def test_the_counts_of_a_message_never_go_down(
    start: dict[str, Any], end: dict[str, Any], expected: tuple[int, int]
) -> None:
    request = MESSAGES.decode(b'{"model": "m", "stream": true}')
    result = relay(MESSAGES, request, message_frames(start, end))
    assert (result.usage.input_text, result.usage.output_text) == expected
    assert result.usage_source == "provider"


@pytest.mark.parametrize(("announced", "output"), [(1, TEXT_TOKENS), (70, 70)])
def test_an_announced_output_count_does_not_count_text(announced: int, output: int) -> None:
    request = MESSAGES.decode(b'{"model": "m", "stream": true}')
    start = {"input_tokens": 1000, "output_tokens": announced}
    result = relay(MESSAGES, request, message_frames(start, {"output_tokens": 0}))
    assert (result.usage.input_text, result.usage.output_text) == (1000, output)
    assert (result.usage_source, result.usage.notes) == ("estimated", ("output_estimated",))


def test_a_response_stream_of_zeros_is_estimated() -> None:
    request = RESPONSES.decode(b'{"model": "m", "stream": true}')
    frames = [
        frame_of("response.output_text.delta", delta=TEXT),
        frame_of("response.completed", response={"id": "r-1", "usage": NO_TOKENS}),
    ]
    result = relay(RESPONSES, request, frames, input_tokens=33)
    assert result.usage == TokenUsage(input_text=33, output_text=TEXT_TOKENS)
    assert (result.status, result.usage_source) == ("ok", "estimated")
