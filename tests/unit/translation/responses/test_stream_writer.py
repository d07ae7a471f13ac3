"""The order and the numbers of the events that a client gets."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.parts import (
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Stop
from services.gateway.upstream.translation.responses import RESPONSES
from services.gateway.upstream.translation.sequencer import Sequencer
from tests.unit.translation.responses.streams import (
    Event,
    context,
    events_of,
    finish,
    judge,
    streamed,
)

BEGIN = ["created", "in_progress"]


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def answer(*parts: Any) -> Reply:
    return Reply(id="a", model="m", parts=parts, stop=Stop(kind="end"))


@pytest.mark.parametrize(
    ("family", "part", "right"),
    [
        (
            "other",
            Text(text="hi"),
            [
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
            ],
        ),
        (
            "openai",
            Thinking(summaries=("ab",), signature=ThoughtSignature("openai", "ENC")),
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
            ],
        ),
        (
            "other",
            Thinking(text="ab"),
            [
                "output_item.added",
                "content_part.added",
                "reasoning_text.delta",
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
            ],
        ),
        (
            "other",
            ToolCall(id="c", name="f", arguments='{"a":1}'),
            [
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
            ],
        ),
        (
            "other",
            ToolCall(id="c", name="f", arguments=""),
            [
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
            ],
        ),
        (
            "other",
            ToolCall(id="c", name="apply_patch", arguments='{"input":"x"}'),
            [
                "output_item.added",
                "custom_tool_call_input.delta",
                "custom_tool_call_input.done",
                "output_item.done",
            ],
        ),
    ],
)
def test_the_order_of_events(family: str, part: Any, right: list[str]) -> None:
    events = streamed(answer(part), context(family))
    assert kinds(events) == [*BEGIN, *right, "completed"]


def test_an_item_begins_empty_and_its_end_holds_it_whole() -> None:
    events = streamed(answer(ToolCall(id="c", name="mcp__find", arguments='{"a":1}')), context())
    added, done = events[2]["item"], events[-2]["item"]
    assert (added["arguments"], added["status"]) == ("", "in_progress")
    assert done == {**added, "arguments": '{"a":1}', "status": "completed"}
    arguments = events[-3]
    assert (arguments["name"], arguments["arguments"]) == ("find", '{"a":1}')


def test_a_search_passes_through_its_states() -> None:
    writer = RESPONSES.writer(context())
    writer.started("a", "m", None)
    raw = b'{"type":"server_tool_use",\n"name":"web_search","input":{"query":"q"}}'
    writer.hosted("web_search", msgspec.Raw(raw), "anthropic", 0)
    assert kinds(finish(writer))[2:-1] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]


def test_openais_own_searches_are_written_unchanged() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "x"}}
    item["action"] = {"type": "open_page", "url": "u"}
    writer = RESPONSES.writer(context("openai"))
    writer.started("a", "m", None)
    writer.hosted("web_search", msgspec.Raw(json.dumps(item, indent=1).encode()), "openai", 0)
    events = finish(writer)
    assert events[2]["item"] == events[-2]["item"] == item
    assert {event["item_id"] for event in events[3:6]} == {"ws_1"}


def test_parts_that_take_turns() -> None:
    events = streamed(
        answer(
            Thinking(text="a", signature=ThoughtSignature("anthropic", "1")),
            Thinking(text="b", signature=ThoughtSignature("anthropic", "2")),
            Text(text="c"),
            ToolCall(id="c1", name="f", arguments="{}"),
            ToolCall(id="c2", name="f", arguments="{}"),
            Thinking(text="d", signature=ThoughtSignature("anthropic", "3")),
            Text(text="e"),
        ),
        context(),
    )
    assert [item["type"] for item in events[-1]["response"]["output"]] == [
        "reasoning",
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "reasoning",
        "message",
    ]


def test_two_calls_at_once_come_out_one_after_the_other() -> None:
    writer = RESPONSES.writer(context())
    line = Sequencer(writer)
    line.started("a", "m", None)
    line.call(0, "c1", "f", '{"a":', False)
    line.call(1, "c2", "g", '{"b":', False)
    line.call(0, "c1", "f", "1}", False)
    line.call(1, "c2", "g", "2}", False)
    line.text("done")
    line.stop(Stop(kind="tool"))
    first, second, message = finish(writer)[-1]["response"]["output"]
    assert (first["arguments"], second["arguments"]) == ('{"a":1}', '{"b":2}')
    assert message["content"][0]["text"] == "done"


def test_logprobs_are_written_with_their_text_and_at_its_end() -> None:
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    raw = msgspec.Raw(json.dumps([entry], indent=1).encode())
    writer = RESPONSES.writer(context())
    writer.started("a", "m", None)
    writer.text("a", raw)
    writer.text("b")
    writer.text("a", raw)
    writer.stop(Stop(kind="end"))
    events = finish(writer)
    logprobs = [event["logprobs"] for event in events if event["type"].endswith("text.delta")]
    assert logprobs == [[entry], [], [entry]]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [entry, entry]


def test_a_citation_is_an_event_of_the_text_before_it() -> None:
    citation = msgspec.Raw(b'{"type":"web_search_result_location","url":"u","title":null}')
    writer = RESPONSES.writer(context())
    writer.started("a", "m", None)
    writer.cite(citation, "anthropic")
    writer.text("Oslo")
    writer.cite(citation, "anthropic")
    writer.cite(msgspec.Raw(b"[]"), "anthropic")
    writer.text(".")
    writer.stop(Stop(kind="end"))
    events = finish(writer)
    cited = [event for event in events if event["type"].endswith("annotation.added")]
    assert [event["annotation_index"] for event in cited] == [0]
    assert cited[0]["annotation"] == {
        "type": "url_citation",
        "start_index": 0,
        "end_index": 4,
        "url": "u",
        "title": "",
    }
    assert events[-1]["response"]["output"][0]["content"][0]["annotations"] == [
        cited[0]["annotation"]
    ]


@pytest.mark.parametrize(
    ("failure", "code", "kind"),
    [
        (
            ReportedError(message="m", code="context_length_exceeded", kind="k"),
            "context_length_exceeded",
            "k",
        ),
        (
            ReportedError(message="m", kind="overloaded_error"),
            "overloaded_error",
            "overloaded_error",
        ),
        (ReportedError(message="m", param="input"), "server_error", "server_error"),
    ],
)
def test_a_failure_is_written_twice_with_one_code(
    failure: ReportedError, code: str, kind: str
) -> None:
    writer = RESPONSES.writer(context())
    writer.started("a", "m", None)
    writer.call(0, "c1", "f", "{}", False)
    writer.text("half")
    writer.usage(TokenUsage(input_text=3, output_text=1))
    writer.failed(failure)
    writer.failed(ReportedError(message="again"))
    writer.finish()
    events = events_of(writer.take())
    judge(events)
    error, failed = events[-2:]
    assert (error["type"], failed["type"]) == ("error", "response.failed")
    assert (error["code"], error["message"], error["param"]) == (code, "m", failure.param)
    assert error["error"] == {"type": kind, "code": code, "message": "m", "param": failure.param}
    response = failed["response"]
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": "m"})
    # What is open is not whole, and is not told as if it were.
    assert [item["type"] for item in response["output"]] == ["function_call"]
    assert response["usage"]["input_tokens"] == 3


def test_a_failure_before_anything_else_is_a_whole_stream() -> None:
    writer = RESPONSES.writer(context())
    writer.failed(ReportedError(message="m"))
    events = events_of(writer.take())
    judge(events)
    assert kinds(events) == ["created", "in_progress", "error", "failed"]


def test_taken_frames_are_not_returned_again() -> None:
    writer = RESPONSES.writer(context())
    assert writer.take() == b""
    writer.started("a", "m", None)
    first = writer.take()
    assert [event["sequence_number"] for event in events_of(first)] == [0, 1]
    writer.text("a")
    writer.text("")
    writer.refusal("")
    writer.stop(Stop(kind="end"))
    writer.finish()
    assert events_of(writer.take())[0]["sequence_number"] == 2


def test_texts_are_escaped() -> None:
    text = 'quote " \\ \n \u2028 é 😀'
    events = streamed(answer(Text(text=text)), context())
    deltas = [event["delta"] for event in events if event["type"].endswith("text.delta")]
    assert "".join(deltas) == text
