"""Streams of Responses: written, and judged by the SDK's types and by its own accumulator."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.gateway.formats.sse import FrameSplitter, data_of
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Hosted,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply, Sink, Writer
from services.gateway.upstream.translation.responses import RESPONSES
from tests.unit.translation.responses.bodies import fields_of

Event = dict[str, Any]

_event = TypeAdapter[Any](ResponseStreamEvent)
_response = TypeAdapter[Any](Response)
NAMES = ToolNames(
    known={"mcp__find": ("mcp", "find", False), "apply_patch": (None, "apply_patch", True)}
)


def context(family: str = "anthropic", **fields: Any) -> AnswerContext:
    return AnswerContext(
        request=Request(turns=()),
        fields=fields_of({"model": "asked", **fields}),
        model="asked",
        created=1_700_000_000,
        family=family,
        names=NAMES,
    )


def say(sink: Sink, reply: Reply) -> None:
    """As a reader tells of the same answer in a stream, texts in two halves."""
    sink.started(reply.id, reply.model, reply.created)
    for key, part in enumerate(reply.parts):
        _say_part(sink, key, part)
    if reply.usage is not None:
        sink.usage(reply.usage)
    sink.stop(reply.stop)


def _say_part(sink: Sink, key: int, part: Part) -> None:
    if isinstance(part, Text):
        _say_text(sink, part)
    elif isinstance(part, Refusal):
        for half in halves(part.text):
            sink.refusal(half)
        sink.ended()
    elif isinstance(part, Thinking):
        _say_thinking(sink, part)
    elif isinstance(part, ToolCall):
        for half in halves(part.arguments):
            sink.call(key, part.id, part.name, half, part.is_freeform)
        if part.signature is not None:
            sink.sign(part.signature, part.id)
    elif isinstance(part, Hosted):
        sink.hosted(part.kind, part.raw, part.family, 0)


def _say_text(sink: Sink, part: Text) -> None:
    for half in halves(part.text):
        sink.text(half)
    for citation in [] if part.citations is None else json.loads(bytes(part.citations)):
        sink.cite(msgspec.Raw(json.dumps(citation).encode()), part.family or "")
    sink.ended()


def _say_thinking(sink: Sink, part: Thinking) -> None:
    if not part.is_redacted:
        sink.thinking("")
    for number, summary in enumerate(part.summaries):
        for half in halves(summary):
            sink.thinking(half, number)
    if part.text:
        for half in halves(part.text):
            sink.thinking(half)
    if part.signature is not None:
        sink.sign(part.signature)
    else:
        sink.ended()


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def events_of(stream: bytes) -> list[Event]:
    splitter = FrameSplitter()
    frames = splitter.feed(stream)
    assert splitter.rest() == b""
    events: list[Event] = []
    for frame in frames:
        assert len(frame.splitlines()) == 3
        event = json.loads(data_of(frame))
        assert frame.startswith(f"event: {event['type']}\n".encode())
        events.append(event)
    return events


def finish(writer: Writer) -> list[Event]:
    """The events of the finished stream, judged."""
    writer.finish()
    events = events_of(writer.take())
    judge(events)
    return events


def streamed(reply: Reply, answer_context: AnswerContext) -> list[Event]:
    writer = RESPONSES.writer(answer_context)
    say(writer, reply)
    return finish(writer)


def judge(events: Iterable[Event]) -> None:
    """The types, the numbers, the SDK's accumulator, and that what begins also ends."""
    state = ResponseStreamState[Any](input_tools=omit, text_format=omit)
    begun: dict[tuple[Any, ...], str] = {}
    for number, event in enumerate(events):
        assert event["sequence_number"] == number
        found = _event.validate_python(_with_known_code(event))
        state.handle_event(found)
        _follow(event, begun)
        if event["type"] in ("response.completed", "response.incomplete"):
            judge_response(event["response"])
            assert set(begun.values()) <= {"done"}


def _with_known_code(event: Event) -> Event:
    """The type lists fewer codes than OpenAI sends, and than agents look for."""
    if event["type"] != "response.failed":
        return event
    error = {**event["response"]["error"], "code": "server_error"}
    return {**event, "response": {**event["response"], "error": error}}


def judge_response(response: dict[str, Any]) -> None:
    _response.validate_python(response)


def _follow(event: Event, begun: dict[tuple[Any, ...], str]) -> None:
    what = event["type"].removeprefix("response.").rpartition(".")
    if what[2] not in ("added", "done") or "annotation" in what[0]:
        return
    if what[0] not in ("output_item", "content_part", "reasoning_summary_part"):
        return
    places = ("output_index", "content_index", "summary_index")
    place = (what[0], *(event.get(name) for name in places))
    assert begun.get(place) == (None if what[2] == "added" else "added")
    if what[2] == "added":
        # One item is open at a time, and one part.
        assert not [key for key, state in begun.items() if key[0] == what[0] and state == "added"]
    begun[place] = what[2]
