"""Streams of providers that speak Responses."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.translation.parts import (
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Stop
from services.gateway.upstream.translation.responses import RESPONSES
from tests.unit.translation.responses.streams import context, say

Event = tuple[Any, ...]


class Recorder:
    """A sink that notes what it is told; deltas of one part are put together."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.usages: list[TokenUsage] = []

    def _add(self, *event: Any) -> None:
        last = self.events[-1] if self.events else None
        if last is not None and last[:-1] == event[:-1] and event[0] in _JOINED:
            self.events[-1] = (*event[:-1], last[-1] + event[-1])
        else:
            self.events.append(event)

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        self._add("started", answer_id, model, created)

    def text(self, delta: str, logprobs: Any = None) -> None:
        self._add("text", None if logprobs is None else bytes(logprobs), delta)

    def refusal(self, delta: str) -> None:
        self._add("refusal", delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        self._add("thinking", summary, delta)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        self._add("sign", signature, call_id)

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        self._add("call", key, call_id, name, is_freeform, delta)

    def cite(self, citation: Any, family: str) -> None:
        self._add("cite", json.loads(bytes(citation)), family)

    def hosted(self, kind: str, raw: Any, family: str, at: int) -> None:
        self._add("hosted", kind, json.loads(bytes(raw)), family)

    def ended(self) -> None:
        if self.events[-1:] != [("ended",)]:
            self._add("ended")

    def usage(self, usage: TokenUsage) -> None:
        self.usages.append(usage)

    def stop(self, stop: Stop) -> None:
        self._add("stop", stop.kind, stop.reason)

    def failed(self, failure: ReportedError) -> None:
        self._add("failed", failure)


_JOINED = ("text", "refusal", "thinking", "call")


def frame(kind: str, **fields: Any) -> bytes:
    body = json.dumps({"type": kind, **fields})
    return f"event: {kind}\ndata: {body}\n\n".encode()


def response(**fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "model": "m", "created_at": 7, "output": [], **fields}


CREATED = frame("response.created", response=response(status="in_progress"))
USED = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
COMPLETED = frame("response.completed", response=response(status="completed", usage=USED))
STARTED = ("started", "resp_1", "m", 7)


def read(*frames: bytes, family: str = "openai") -> tuple[Recorder, bool]:
    recorder = Recorder()
    reader = RESPONSES.reader(recorder, family)
    for each in frames:
        reader.feed(each)
    return recorder, reader.end()


def events(*frames: bytes, family: str = "openai") -> list[Event]:
    """What comes between the start and the stop of a whole answer."""
    recorder, is_whole = read(CREATED, *frames, COMPLETED, family=family)
    assert is_whole
    assert recorder.events[0] == STARTED
    assert recorder.events[-1][0] == "stop"
    return recorder.events[1:-1]


def delta(kind: str, text: str, **place: Any) -> bytes:
    return frame(f"response.{kind}.delta", delta=text, **{"output_index": 0, **place})


def added(item: dict[str, Any], index: int = 0) -> bytes:
    return frame("response.output_item.added", output_index=index, item=item)


def done(item: dict[str, Any], index: int = 0) -> bytes:
    return frame("response.output_item.done", output_index=index, item=item)


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(content)}


def output_text(text: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations)}


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": ""}
CITED = {"type": "url_citation", "url": "u"}
WHOLE_ITEMS: list[tuple[dict[str, Any], list[Event]]] = [
    (message(output_text("hi")), [("text", None, "hi"), ("ended",)]),
    (
        message(output_text("a"), output_text("b", CITED)),
        [
            ("text", None, "a"),
            ("ended",),
            ("text", None, "b"),
            ("cite", CITED, "openai"),
            ("ended",),
        ],
    ),
    (
        message({"type": "refusal", "refusal": "no"}),
        [("refusal", "no"), ("ended",)],
    ),
    (
        {"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}], "encrypted_content": "E"},
        [
            ("thinking", 0, "a"),
            ("thinking", 1, "b"),
            ("sign", ThoughtSignature("openai", "E"), None),
        ],
    ),
    (
        {"type": "reasoning", "summary": [], "content": [{"text": "a"}]},
        [("thinking", None, "a"), ("ended",)],
    ),
    ({**CALL, "arguments": '{"a":1}'}, [("call", 0, "c1", "f", False, '{"a":1}')]),
    (CALL, [("call", 0, "c1", "f", False, "{}")]),
    ({**CALL, "namespace": "n"}, [("call", 0, "c1", "n__f", False, "{}")]),
    (
        {"type": "custom_tool_call", "call_id": "c1", "name": "g", "input": "raw"},
        [("call", 0, "c1", "g", True, "raw")],
    ),
    (
        {"type": "custom_tool_call", "call_id": "c1", "name": "g", "input": ""},
        [("call", 0, "c1", "g", True, "")],
    ),
    (
        {"type": "web_search_call", "id": "ws", "action": {"type": "search"}},
        [
            (
                "hosted",
                "web_search",
                {"type": "web_search_call", "id": "ws", "action": {"type": "search"}},
                "openai",
            )
        ],
    ),
]


@pytest.mark.parametrize(("item", "right"), WHOLE_ITEMS)
def test_missing_deltas_are_taken_from_the_end(item: dict[str, Any], right: list[Event]) -> None:
    assert events(done(item)) == right
    assert events(done(item), done(item)) == right
    ended = frame("response.completed", response=response(status="completed", output=[item]))
    found, _ = read(CREATED, ended)
    assert found.events[1:-1] == right
    assert events(added({**item, "content": [], "summary": [], "arguments": "", "input": ""})) in (
        [],
        [(*right[0][:-1], "")],
    )


def test_a_text_comes_as_it_is_written() -> None:
    assert events(
        added(message()),
        frame("response.content_part.added", output_index=0, part=output_text("")),
        delta("output_text", "Hel", item_id="x1"),
        delta("output_text", "lo", item_id="x2", logprobs=[{"token": "lo"}]),
        delta("output_text", "", logprobs=[]),
        frame("response.output_text.annotation.added", output_index=0, annotation=CITED),
        frame("response.output_text.done", output_index=0, text="Hello"),
        frame("response.content_part.done", output_index=0, part=output_text("Hello", CITED)),
        done(message(output_text("Hello", CITED))),
    ) == [
        ("text", None, "Hel"),
        ("text", b'[{"token": "lo"}]', "lo"),
        ("text", None, ""),
        ("cite", CITED, "openai"),
        ("ended",),
    ]


def test_calls_are_matched_by_output_index_and_not_by_id() -> None:
    found, _ = read(
        CREATED,
        added(CALL, 1),
        added({**CALL, "id": "fc_2", "call_id": "c2", "name": "g"}, 2),
        delta("function_call_arguments", '{"a"', output_index=1, item_id="p"),
        delta("function_call_arguments", '{"b"', output_index=2, item_id="q"),
        delta("function_call_arguments", ":1}", output_index=1, item_id="r"),
        delta("function_call_arguments", ":2}", output_index=2, item_id="s"),
        frame("response.function_call_arguments.done", output_index=1, arguments='{"a":1}'),
        done({**CALL, "arguments": '{"a":1}'}, 1),
        done({**CALL, "id": "zz", "call_id": "c2", "name": "g", "arguments": '{"b":2}'}, 2),
        COMPLETED,
    )
    calls: dict[int, str] = {}
    for what, *rest in found.events:
        if what == "call":
            calls[rest[0]] = calls.get(rest[0], "") + rest[-1]
    assert calls == {1: '{"a":1}', 2: '{"b":2}'}
    assert found.events[-1] == ("stop", "tool", "completed")


def test_a_name_that_comes_late_is_waited_for() -> None:
    assert events(
        added({"type": "function_call"}),
        delta("function_call_arguments", '{"a":'),
        delta("function_call_arguments", "1}"),
        done({**CALL, "arguments": '{"a":1}'}),
    ) == [("call", 0, "c1", "f", False, '{"a":1}')]


def test_reasoning_is_read_once_with_its_signature() -> None:
    assert events(
        added({"type": "reasoning", "summary": []}),
        delta("reasoning_summary_text", "a", summary_index=0),
        frame("response.reasoning_summary_text.done", output_index=0, summary_index=0, text="ab"),
        delta("reasoning_summary_text", "c", summary_index=1),
        done(
            {
                "type": "reasoning",
                "summary": [{"text": "ab"}, {"text": "c"}],
                "encrypted_content": "E",
            }
        ),
        delta("reasoning_text", "t", output_index=1),
        frame("response.reasoning_text.done", output_index=1, text="t"),
        frame(
            "response.content_part.done",
            output_index=1,
            part={"type": "reasoning_text", "text": "t"},
        ),
        done({"type": "reasoning", "summary": [], "content": [{"text": "t"}]}, 1),
        family="xai",
    ) == [
        ("thinking", 0, "ab"),
        ("thinking", 1, "c"),
        ("sign", ThoughtSignature("xai", "E"), None),
        ("thinking", None, "t"),
        ("ended",),
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "right"),
    [
        ("completed", {}, ("stop", "end", None)),
        (
            "incomplete",
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            ("stop", "limit", "max_output_tokens"),
        ),
        (
            "incomplete",
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            ("stop", "blocked", "content_filter"),
        ),
    ],
)
def test_how_a_stream_ended(kind: str, fields: dict[str, Any], right: Event) -> None:
    end = frame(f"response.{kind}", response=response(usage=USED, **fields))
    recorder, is_whole = read(CREATED, end, COMPLETED)
    assert is_whole
    assert recorder.events == [STARTED, right]
    assert [(usage.input_text, usage.output_text) for usage in recorder.usages] == [(3, 2)]


def test_a_refusal_is_an_end_of_its_own() -> None:
    found, _ = read(CREATED, delta("refusal", "no"), COMPLETED)
    assert found.events[1:] == [("refusal", "no"), ("stop", "declined", "completed")]


FAILED = frame(
    "response.failed",
    response=response(
        status="failed", usage=USED, error={"code": "server_error", "message": "boom"}
    ),
)
ERROR = frame("error", code="rate_limit_exceeded", message="slow down", param=None)


@pytest.mark.parametrize(
    ("frames", "right", "uses"),
    [
        ([FAILED], ReportedError(message="boom", code="server_error"), 1),
        ([ERROR], ReportedError(message="slow down", code="rate_limit_exceeded"), 0),
        ([ERROR, FAILED], ReportedError(message="boom", code="server_error"), 1),
        (
            [ERROR, frame("response.failed", response=response(status="failed", error=None))],
            ReportedError(message="slow down", code="rate_limit_exceeded"),
            0,
        ),
        (
            [frame("error", error={"type": "t", "code": "c", "message": "m", "param": "p"})],
            ReportedError(message="m", kind="t", code="c", param="p"),
            0,
        ),
        ([b'data: {"error":{"message":"m"}}\n\n'], ReportedError(message="m"), 0),
        (
            [ERROR, b"data: [DONE]\n\n"],
            ReportedError(message="slow down", code="rate_limit_exceeded"),
            0,
        ),
    ],
)
def test_a_failure_is_one_with_the_code_of_either(
    frames: list[bytes], right: ReportedError, uses: int
) -> None:
    recorder, is_whole = read(CREATED, *frames, COMPLETED)
    assert recorder.events == [STARTED, ("failed", right)]
    assert (len(recorder.usages), is_whole) == (uses, True)


def test_an_end_without_a_reason_is_incomplete() -> None:
    recorder, is_whole = read(CREATED, delta("output_text", "a"))
    assert not is_whole
    assert recorder.events == [STARTED, ("text", None, "a")]


def test_the_reader_says_when_it_has_read_the_last_event() -> None:
    reader = RESPONSES.reader(Recorder(), "openai")
    ends = []
    for each in (CREATED, COMPLETED):
        reader.feed(each)
        ends.append(reader.done)
    assert ends == [False, True]
    failing = RESPONSES.reader(Recorder(), "openai")
    failing.feed(FAILED)
    assert failing.done


@pytest.mark.parametrize(
    "noise",
    [
        b": keep-alive\n\n",
        b"event: ping\ndata: {}\n\n",
        frame("keepalive"),
        frame("response.queued", response=response()),
        frame("response.brand_new.delta", delta={"x": 1}),
        frame("response.output_item.added", output_index=0, item={"type": 5}),
        frame("response.content_part.done", output_index=0),
        frame("response.output_text.delta", delta=None),
        frame("response.web_search_call.searching", output_index=3, item_id="x"),
    ],
)
def test_events_without_content_are_skipped(noise: bytes) -> None:
    assert events(noise) == []


@pytest.mark.parametrize("broken", [b"data: {\n\n", b'data: {"type":1}\n\n', b"data: nothing\n\n"])
def test_a_broken_frame_ends_the_stream(broken: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read(CREATED, broken)


def test_a_character_that_is_cut_in_two_is_put_together() -> None:
    first = b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n'
    second = b'data: {"type":"response.output_text.delta","delta":"\\ude00b"}\n\n'
    assert events(first, second) == [("text", None, "a😀b")]


def test_contradictory_usage_does_not_spoil_the_answer() -> None:
    odd = frame(
        "response.completed", response=response(status="completed", usage={"input_tokens": []})
    )
    recorder, is_whole = read(CREATED, odd)
    assert is_whole
    assert recorder.events[-1] == ("stop", "end", "completed")


def stream(reply: Reply) -> bytes:
    writer = RESPONSES.writer(context("openai"))
    say(writer, reply)
    writer.finish()
    return writer.take()


def cut(whole: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [*sorted({place % (len(whole) + 1) for place in places}), len(whole)]
    starts = [0, *ends[:-1]]
    return [whole[start:end] for start, end in zip(starts, ends, strict=True)]


PARTS = st.lists(
    st.one_of(
        st.builds(Text, text=st.text(min_size=1)),
        st.builds(Refusal, text=st.text(min_size=1)),
        st.builds(
            Thinking,
            summaries=st.lists(st.text(min_size=1), max_size=2).map(tuple),
            signature=st.builds(ThoughtSignature, st.just("openai"), st.text("abc", min_size=1)),
        ),
        st.builds(ToolCall, id=st.just("c"), name=st.just("f"), arguments=st.just('{"a":1}')),
    ),
    max_size=5,
)


@given(PARTS, st.lists(st.integers(0, 10_000), max_size=20))
def test_a_stream_that_is_written_is_read_again_however_it_is_cut(
    parts: list[Any], places: list[int]
) -> None:
    reply = Reply(id="resp_1", model="m", parts=tuple(parts), stop=Stop(kind="end"), created=7)
    whole = stream(reply)
    splitter = FrameSplitter()
    frames = [each for piece in cut(whole, places) for each in splitter.feed(piece)]
    recorder, is_whole = read(*frames)
    assert is_whole
    direct = Recorder()
    say(direct, reply)
    assert _plain(recorder.events) == _plain(direct.events)


def _plain(sink_events: list[Event]) -> list[Event]:
    """Less what is not in the stream: the model that answered, the provider's word, nothing."""
    plain: list[Event] = []
    for each in sink_events:
        if each[0] in ("started", "stop", "ended") or each == ("thinking", None, ""):
            continue
        if each[0] == "call":
            plain.append(("call", each[-1]))
        elif each[-1] != "":
            plain.append(each)
    return plain
