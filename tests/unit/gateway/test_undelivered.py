"""What was not delivered is not sold, and an answer that failed or broke off is not a good one."""

import json
from typing import Any

import pytest

from libs.common.errors import UpstreamFailed, UpstreamRefused
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from services.gateway.formats.base import Format
from tests.unit.gateway.streams import (
    MESSAGES_START_USAGE,
    chat_chunk,
    data,
    frame_of,
    messages_stream,
    relay,
)

TEXT = "x" * 40
ERROR = {"message": "overloaded", "type": "overloaded_error", "code": 502}
CHAT_REQUEST = CHAT.decode(b'{"model": "m", "messages": [], "stream": true}')
MESSAGES_REQUEST = MESSAGES.decode(b'{"model": "m", "stream": true}')
RESPONSES_REQUEST = RESPONSES.decode(b'{"model": "m", "stream": true}')


@pytest.mark.parametrize(
    ("client_format", "request_", "frames"),
    [
        (CHAT, CHAT_REQUEST, [data({"error": ERROR})]),
        (CHAT, CHAT_REQUEST, [data(chat_chunk("")), data({"error": ERROR, "choices": []})]),
        (MESSAGES, MESSAGES_REQUEST, [frame_of("error", error=ERROR)]),
        (RESPONSES, RESPONSES_REQUEST, [frame_of("error", error=ERROR)]),
        (
            RESPONSES,
            RESPONSES_REQUEST,
            [frame_of("response.failed", response={"id": "r", "usage": None, "error": ERROR})],
        ),
    ],
)
def test_a_stream_that_begins_with_an_error_is_free(
    client_format: Format, request_: Any, frames: list[bytes]
) -> None:
    result = relay(client_format, request_, frames, input_tokens=200_000)
    assert (result.status, result.reported, result.usage_source) == ("upstream_error", None, "none")
    assert b"overloaded" in result.body


def test_a_translation_that_is_refused_before_any_text_is_free() -> None:
    fault = UpstreamRefused("no", status=529, code="overloaded", retry_after_s=None)
    result = relay(CHAT, CHAT_REQUEST, [], fault=fault)
    assert (result.status, result.reported) == ("upstream_error", None)
    # Who only breaks off has not said that it does not charge.
    result = relay(CHAT, CHAT_REQUEST, [], fault=UpstreamFailed("broke off"), input_tokens=7)
    assert result.usage == TokenUsage(input_text=7, output_text=0)


def test_usage_before_an_error_is_charged() -> None:
    result = relay(CHAT, CHAT_REQUEST, [data(chat_chunk(TEXT)), data({"error": ERROR})])
    assert (result.status, result.usage.output_text) == ("upstream_error", 10)
    start = frame_of("message_start", message={"usage": MESSAGES_START_USAGE})
    result = relay(MESSAGES, MESSAGES_REQUEST, [start, frame_of("error", error=ERROR)])
    assert (result.usage.input_text, result.usage.cache_read) == (15, 5)
    response = {"id": "r", "usage": {"input_tokens": 5000, "output_tokens": 700}}
    result = relay(RESPONSES, RESPONSES_REQUEST, [frame_of("response.failed", response=response)])
    assert (result.usage.input_text, result.usage.output_text) == (5000, 700)
    assert result.status == "upstream_error"


@pytest.mark.parametrize(
    ("client_format", "answer", "failed"),
    [
        (CHAT, {"choices": [{"message": {"content": "failed"}}]}, False),
        (MESSAGES, {"type": "message", "content": [{"text": "failed"}]}, False),
        (EMBEDDINGS, {"data": []}, False),
        (RESPONSES, {"status": "failed", "error": ERROR, "output": []}, True),
        (RESPONSES, {"status": "failed", "error": None, "output": []}, True),
        (RESPONSES, {"status": "completed", "output": [{"status": "failed"}]}, False),
        (RESPONSES, {"status": "incomplete", "output": []}, False),
    ],
)
def test_a_failed_answer_under_a_good_status_is_recognised(
    client_format: Format, answer: dict[str, Any], failed: bool
) -> None:
    assert client_format.has_failed(json.dumps(answer).encode()) is failed


UNBILLED = {"input_tokens": 1000, "output_tokens": 0}


@pytest.mark.parametrize(
    ("content", "unbilled"),
    [([], True), ([{"type": "text", "text": ""}], True), ([{"type": "text", "text": "I"}], False)],
)
def test_a_refusal_before_any_output_is_free(content: list[Any], unbilled: bool) -> None:
    """Anthropic's page on refusals; what it had begun to say is charged for."""
    answer = {"content": content, "stop_reason": "refusal", "usage": UNBILLED}
    usage = MESSAGES.usage_of_answer(json.dumps(answer).encode())
    assert usage == TokenUsage(input_text=1000, output_text=0, unbilled=unbilled)


@pytest.mark.parametrize(("texts", "unbilled"), [([], True), (["Hi"], False)])
def test_a_stream_refused_before_any_output_is_free(texts: list[str], unbilled: bool) -> None:
    frames = messages_stream(texts)
    frames[0] = frame_of("message_start", message={"id": "m-1", "usage": UNBILLED})
    frames[-2] = frame_of(
        "message_delta", delta={"stop_reason": "refusal"}, usage=UNBILLED | {"output_tokens": 1}
    )
    result = relay(MESSAGES, MESSAGES_REQUEST, frames)
    assert (result.usage.input_text, result.usage.unbilled) == (1000, unbilled)
    assert result.usage_source == "provider"


def running_chunk(text: str, output: int, **fields: Any) -> bytes:
    """As vLLM reports it with `continuous_usage_stats`."""
    usage = {"prompt_tokens": 5000, "completion_tokens": output, "total_tokens": 5000 + output}
    return data(chat_chunk(text, usage=usage, **fields))


def test_a_stream_that_breaks_off_after_a_running_usage_is_said_to() -> None:
    result = relay(CHAT, CHAT_REQUEST, [running_chunk("Hel", 1), running_chunk("lo", 2)])
    assert result.usage == TokenUsage(input_text=5000, output_text=2)
    assert (result.status, result.usage_source) == ("upstream_error", "provider")
    assert b"before the answer was complete" in result.last_bytes


def test_a_stream_with_a_finish_reason_and_its_usage_is_whole() -> None:
    last = {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None}
    for end in (
        [data(last), data({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})],
        [data(last | {"usage": {"prompt_tokens": 1, "completion_tokens": 2}})],
        [data({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})],
    ):
        result = relay(CHAT, CHAT_REQUEST, [data(chat_chunk("Hi")), *end])
        assert (result.status, result.usage.output_text) == ("ok", 2)
    text = json.dumps({"finish_reason": "stop"})
    result = relay(CHAT, CHAT_REQUEST, [running_chunk(text, 9)])
    assert result.status == "upstream_error"


def test_a_message_without_a_reason_to_stop_is_broken() -> None:
    frames = messages_stream([TEXT])[:-1]
    assert relay(MESSAGES, MESSAGES_REQUEST, frames).status == "ok"
    frames[-1] = frame_of("message_delta", delta={}, usage={"output_tokens": 7})
    result = relay(MESSAGES, MESSAGES_REQUEST, frames)
    assert (result.status, result.usage.output_text) == ("upstream_error", 7)


@pytest.mark.parametrize(
    ("told", "asked", "expected"),
    [
        (None, "priority", "priority"),
        ("priority", None, "priority"),
        ("default", "priority", "default"),
        ("auto", "flex", "flex"),
        (None, "auto", None),
        (None, None, None),
    ],
)
def test_a_broken_stream_has_the_reported_or_requested_tier(
    told: str | None, asked: str | None, expected: str | None
) -> None:
    body = json.dumps({"model": "m", "messages": [], "stream": True, "service_tier": asked})
    request = CHAT.decode(body.encode())
    result = relay(CHAT, request, [data(chat_chunk(TEXT, service_tier=told))])
    assert (result.usage.service_tier, result.usage_source) == (expected, "estimated")
    request = RESPONSES.decode(body.replace("messages", "input").encode())
    start = frame_of("response.created", response={"id": "r", "service_tier": told})
    result = relay(RESPONSES, request, [start, frame_of("response.output_text.delta", delta=TEXT)])
    assert (result.usage.service_tier, result.usage_source) == (expected, "estimated")


def test_a_tier_of_earlier_chunks_is_kept() -> None:
    frames = [
        data(chat_chunk(TEXT, service_tier="priority")),
        data({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
        b"data: [DONE]\n\n",
    ]
    result = relay(CHAT, CHAT_REQUEST, frames)
    assert (result.usage.service_tier, result.usage_source) == ("priority", "provider")


WHOLE = [data(chat_chunk(TEXT)), b"data: [DONE]\n\n"]


@pytest.mark.parametrize(
    ("told", "frames", "expected", "source"),
    [
        # It knows more than its frames tell.
        (TokenUsage(input_text=1000, output_text=7), WHOLE, (1000, 7), "provider"),
        # What it knows of a stream that broke off is not all of the text.
        (TokenUsage(input_text=1000, output_text=1), WHOLE[:1], (1000, 10), "estimated"),
        (TokenUsage(input_text=1000, output_text=70), WHOLE[:1], (1000, 70), "estimated"),
        (TokenUsage(input_text=1000), [], (1000, None), "provider"),
        (None, WHOLE[:1], (33, 10), "estimated"),
        # Zeros are not a report here either.
        (TokenUsage(input_text=0, output_text=0), WHOLE, (33, 10), "estimated"),
        (TokenUsage(input_text=1000, output_text=0), WHOLE, (1000, 10), "estimated"),
    ],
)
def test_a_translated_stream_is_metered_as_a_relayed_one(
    told: TokenUsage | None,
    frames: list[bytes],
    expected: tuple[int, int | None],
    source: str,
) -> None:
    result = relay(CHAT, CHAT_REQUEST, frames, input_tokens=33, reported=lambda: told)
    assert (result.usage.input_text, result.usage.output_text) == expected
    assert result.usage_source == source
    assert result.status == ("ok" if frames == WHOLE else "upstream_error")


def test_a_translated_refusal_is_free() -> None:
    usage = TokenUsage(input_text=1000, output_text=0, unbilled=True)
    result = relay(CHAT, CHAT_REQUEST, WHOLE[1:], reported=lambda: usage)
    assert (result.usage, result.usage_source, result.status) == (usage, "provider", "ok")
