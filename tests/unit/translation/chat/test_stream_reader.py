"""Streams of the many servers that speak chat."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.chat import CHAT
from tests.unit.translation.chat.streams import DONE, Recorder, chunk, events, fed, sse

STOP = chunk(reason="stop")
TOOLS = chunk(reason="tool_calls")


def calls(*deltas: dict[str, Any], **members: Any) -> dict[str, Any]:
    return chunk({"tool_calls": list(deltas)}, **members)


def call(
    index: int | None = 0, call_id: str | None = None, name: str | None = None, piece: Any = None
) -> dict[str, Any]:
    delta: dict[str, Any] = {"function": {"name": name, "arguments": piece}}
    if index is not None:
        delta["index"] = index
    if call_id is not None:
        delta["id"] = call_id
    return delta


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param(
            [
                chunk({"role": "assistant", "content": ""}),
                chunk({"content": "a"}),
                chunk({"content": "b"}),
                STOP,
            ],
            [("text", "a"), ("text", "b"), ("stop", "end")],
            id="text",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", '{"a":1}'), call(1, "c2", "g", "{}")), TOOLS],
            [("call", 0, "c1", "f", '{"a":1}'), ("call", 1, "c2", "g", "{}"), ("stop", "tool")],
            id="two calls in one chunk",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", "{}")), calls(call(0, "c2", "g", "{}")), TOOLS],
            [("call", 0, "c1", "f", "{}"), ("call", 1, "c2", "g", "{}"), ("stop", "tool")],
            id="one index for all calls",
        ),
        pytest.param(
            [calls(call(None, "c1", "f", "{")), calls(call(None, None, None, "}")), TOOLS],
            [("call", 0, "c1", "f", "{"), ("call", 0, "c1", "f", "}"), ("stop", "tool")],
            id="no index",
        ),
        pytest.param(
            [
                calls(call(None, "c1", "f", "{"), call(None, "c2", "g", "{")),
                calls(call(None, "c1", None, "}")),
                calls(call(None, "c2", None, "}")),
                TOOLS,
            ],
            [
                ("call", 0, "c1", "f", "{"),
                ("call", 1, "c2", "g", "{"),
                ("call", 0, "c1", "f", "}"),
                ("call", 1, "c2", "g", "}"),
                ("stop", "tool"),
            ],
            id="known by id alone",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", "{")), calls(call(0, "c1", "f", "}")), TOOLS],
            [("call", 0, "c1", "f", "{"), ("call", 0, "c1", "f", "}"), ("stop", "tool")],
            id="id and name repeated",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", "{")), calls(call(0, "other", None, "}")), TOOLS],
            [("call", 0, "c1", "f", "{"), ("call", 0, "c1", "f", "}"), ("stop", "tool")],
            id="ids that change with each chunk",
        ),
        pytest.param(
            [
                calls(call(0, None, None, "{")),
                calls(call(0, "c1", None, '"a":')),
                calls(call(0, None, "f", "1}")),
                TOOLS,
            ],
            [("call", 0, "c1", "f", '{"a":1}'), ("stop", "tool")],
            id="id and name late",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", "")), TOOLS],
            [("call", 0, "c1", "f", ""), ("call", 0, "c1", "f", "{}"), ("stop", "tool")],
            id="no arguments",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", {"a": 1})), STOP],
            [("call", 0, "c1", "f", '{"a":1}'), ("stop", "tool")],
            id="arguments as an object, and stop for tool_calls",
        ),
        pytest.param(
            [calls(call(0, "c1", "f", '{"a')), chunk(reason="length")],
            [("call", 0, "c1", "f", '{"a'), ("stop", "limit")],
            id="truncated call",
        ),
        pytest.param(
            [calls({"index": 0, "id": "c1", "custom": {"name": "f", "input": "x"}}), TOOLS],
            [("call", 0, "c1", "f", "x"), ("stop", "tool")],
            id="custom tool",
        ),
        pytest.param(
            [
                calls(
                    call(0, "c1", "f", "{}")
                    | {"extra_content": {"google": {"thought_signature": "s"}}}
                ),
                TOOLS,
            ],
            [("sign", "google", "s", "c1"), ("call", 0, "c1", "f", "{}"), ("stop", "tool")],
            id="a call that Gemini signed",
        ),
        pytest.param(
            [calls(call(0, "c1__thought__s", "f", "{}")), TOOLS],
            [("sign", "google", "s", "c1"), ("call", 0, "c1", "f", "{}"), ("stop", "tool")],
            id="a signature in the id",
        ),
        pytest.param(
            [chunk({"reasoning_content": "hm"}), chunk({"content": "a"}), STOP],
            [("thinking", "hm"), ("text", "a"), ("stop", "end")],
            id="reasoning_content",
        ),
        pytest.param(
            [chunk({"reasoning": "hm", "reasoning_content": "hm"}), STOP],
            [("thinking", "hm"), ("stop", "end")],
            id="both names of the thinking",
        ),
        pytest.param(
            [
                chunk({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}),
                chunk({"content": [{"type": "text", "text": "a"}]}),
                STOP,
            ],
            [("thinking", "hm"), ("text", "a"), ("stop", "end")],
            id="Mistral's lists",
        ),
        pytest.param(
            [
                chunk(
                    {
                        "reasoning_content": "hm",
                        "thinking_blocks": [{"type": "thinking", "thinking": "hm"}],
                    }
                ),
                chunk({"thinking_blocks": [{"type": "thinking", "signature": "s"}]}),
                chunk({"thinking_blocks": [{"type": "redacted_thinking", "data": "r"}]}),
                STOP,
            ],
            [
                ("thinking", "hm"),
                ("sign", "anthropic", "s"),
                ("ended",),
                ("sign", "anthropic", "r"),
                ("stop", "end"),
            ],
            id="thinking_blocks",
        ),
        pytest.param(
            [chunk({"refusal": "no"}), STOP],
            [("refusal", "no"), ("stop", "declined")],
            id="refusal",
        ),
        pytest.param(
            [chunk({"content": "a"}, "stop"), chunk(reason="length")],
            [("text", "a"), ("stop", "end")],
            id="the first finish reason",
        ),
        pytest.param(
            [chunk({"content": "a"}, "MALFORMED_FUNCTION_CALL")],
            [("text", "a"), ("stop", "malformed")],
            id="malformed",
        ),
        pytest.param(
            [{"id": "c-1", "choices": []}, chunk({"content": "a"}), STOP, {"choices": []}],
            [("text", "a"), ("stop", "end")],
            id="no choices first and last",
        ),
        pytest.param(
            [{"choices": [{"index": 1, "delta": {"content": "b"}}]}, chunk({"content": "a"}), STOP],
            [("text", "a"), ("stop", "end")],
            id="another choice",
        ),
        pytest.param(
            [chunk({"content": "a"}), {"error": {"message": "boom", "code": 502}}, STOP],
            [("text", "a"), ("failed", "boom")],
            id="an error in a data frame",
        ),
        pytest.param(
            [chunk({"content": "a"}), chunk({"content": ""}, "error")],
            [("text", "a"), ("failed", "The provider ended its answer with an error.")],
            id="an error as a finish reason",
        ),
    ],
)
def test_streams(chunks: list[Any], expected: list[Any]) -> None:
    assert events(*chunks) == expected
    if expected[-1][0] == "stop":
        # A server that closes without saying so has given a whole answer all the same.
        assert events(*chunks, done=False) == expected


def test_the_first_form_of_calls() -> None:
    first, second, stop = events(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk(reason="function_call"),
    )[-3:]
    assert stop == ("stop", "tool")
    assert second[3:] == ("f", "{}")
    assert first[2] == second[2]


def test_a_call_whose_id_never_comes_gets_one() -> None:
    sink_events = events(calls(call(0, None, "f", '{"a":1}')), TOOLS)
    assert sink_events == events(calls(call(0, None, "f", '{"a":1}')), TOOLS)
    assert sink_events[0][2].startswith("call_")
    assert sink_events[0][3:] == ("f", '{"a":1}')


def test_how_a_stream_begins() -> None:
    recorder = Recorder()
    assert fed(recorder, sse(chunk(), STOP) + DONE)
    assert recorder.events[0] == ("started", "c-1", "m", 7)
    assert [event[0] for event in recorder.events].count("started") == 1


def usage_of(*reports: Any) -> TokenUsage:
    chunks = [chunk({"content": "a"}, usage=report) for report in reports]
    *_, (_, usage) = [event for event in events(*chunks, STOP) if event[0] == "usage"]
    assert isinstance(usage, TokenUsage)
    return usage


def test_usage_may_come_in_any_chunk() -> None:
    running = [{"prompt_tokens": 10, "completion_tokens": n} for n in range(3)]
    assert usage_of(*running) == TokenUsage(input_text=10, output_text=2)
    assert usage_of(running[2], None) == TokenUsage(input_text=10, output_text=2)
    # What is cumulative never goes down.
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    assert usage_of(running[2], zeros) == TokenUsage(input_text=10, output_text=2)


def test_usage_after_the_end_and_its_tier() -> None:
    sink_events = events(
        chunk({"content": "a"}, service_tier="flex"),
        STOP,
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    )
    usage = TokenUsage(input_text=1, output_text=2, service_tier="flex")
    assert sink_events == [("text", "a"), ("usage", usage), ("stop", "end")]


def test_a_search_that_no_usage_counts() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://x"}}
    sink_events = events(
        chunk({"content": "a", "annotations": [cited]}),
        chunk(reason="stop", usage={"prompt_tokens": 1, "completion_tokens": 1}),
    )
    assert ("cite", cited, "openai") in sink_events
    usage = next(event[1] for event in sink_events if event[0] == "usage")
    assert usage.web_searches == 1


@pytest.mark.parametrize("end", [b"", DONE])
def test_a_stream_without_a_stop_is_incomplete(end: bytes) -> None:
    """What it reported by then is told, for it is charged for."""
    recorder = Recorder()
    report = {"prompt_tokens": 5, "completion_tokens": 1}
    assert not fed(recorder, sse(chunk({"content": "a"}, usage=report)) + end)
    usage = ("usage", TokenUsage(input_text=5, output_text=1))
    assert recorder.events[1:] == [("text", "a"), usage]


def test_usage_before_an_error_is_reported() -> None:
    report = {"prompt_tokens": 5, "completion_tokens": 1}
    sink_events = events(chunk({"content": "a"}, usage=report), {"error": "boom"})
    usage = ("usage", TokenUsage(input_text=5, output_text=1))
    assert sink_events == [("text", "a"), usage, ("failed", "boom")]


def test_a_stream_is_done_with_its_last_event() -> None:
    reader = CHAT.reader(Recorder(), "openai")
    for each in (chunk({"content": "a"}), STOP):
        reader.feed(sse(each))
        assert not reader.done
    reader.feed(DONE)
    assert reader.done


@pytest.mark.parametrize("frame", [b"data: {\n\n", b"data: [1]\n\n", b'data: {"choices":1}\n\n'])
def test_a_frame_that_cannot_be_read(frame: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        CHAT.reader(Recorder(), "openai").feed(frame)


def test_too_many_calls_are_not_kept() -> None:
    sink_events = events(*[calls(call(n, None, "f", "{}")) for n in range(300)], TOOLS)
    assert [event[0] for event in sink_events] == ["failed"]


_STREAM = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm é"}),
    chunk({"content": "a 😀"}),
    calls(call(0, "c1", "f", '{"a":'), call(1, "c2", "g", "{}")),
    calls(call(0, None, None, '"😀"}')),
    chunk(reason="tool_calls", usage={"prompt_tokens": 1, "completion_tokens": 1}),
).replace(b"\n\n", b"\r\n\r\n: a comment\r\n\r\n", 2)


@given(st.lists(st.integers(0, len(_STREAM)), max_size=20))
def test_how_its_bytes_were_cut_changes_nothing(cuts: list[int]) -> None:
    whole, cut = Recorder(), Recorder()
    assert fed(whole, _STREAM + DONE)
    assert fed(cut, _STREAM + DONE, cuts)
    assert cut.events == whole.events


def test_a_character_that_a_server_cut_in_two() -> None:
    halves = [json.dumps({"content": "😀"})[:20], r'{"content": "\ude00"}']
    assert r"\ud83d" in halves[0]
    frames = b"".join(
        b'data: {"id":"c-1","choices":[{"index":0,"delta":' + half.encode() + b"}]}\n\n"
        for half in (r'{"content": "\ud83d"}', halves[1])
    )
    recorder = Recorder()
    assert fed(recorder, frames + sse(STOP) + DONE)
    assert "".join(event[1] for event in recorder.events if event[0] == "text") == "😀"
