"""The events that Anthropic's clients get, put together by its SDK."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.common.errors import AnswerBroken, CallMalformed
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Hosted,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Sink, Stop
from services.gateway.upstream.translation.sequencer import Sequencer
from services.gateway.upstream.translation.thought_signatures import envelope
from services.gateway.upstream.translation.tools import Search
from tests.unit.translation.messages.answers import (
    STOPPED,
    accumulated,
    block,
    call,
    context,
    encoded,
    ended,
    event,
    events_of,
    message,
    started,
    strict,
    text,
    through,
    written_by,
)

RAW = msgspec.Raw
Play = Callable[[Sink], None]


def play(reply: Reply) -> Play:
    """As a reader tells of it."""

    def tell(sink: Sink) -> None:
        sink.started(reply.id, reply.model, None)
        for key, part in enumerate(reply.parts):
            _tell(sink, key, part)
        if reply.usage is not None:
            sink.usage(reply.usage)
        sink.stop(reply.stop)

    return tell


def _tell(sink: Sink, key: int, part: Part) -> None:
    match part:
        case Text(text=said):
            for letter in said:
                sink.text(letter)
            for citation in msgspec.json.decode(part.citations or b"[]", type=list[RAW]):
                sink.cite(citation, part.family or "")
            sink.ended()
        case Refusal(text=said):
            sink.refusal(said)
        case Thinking():
            _think(sink, part)
        case ToolCall():
            if part.signature is not None:
                sink.sign(part.signature, part.id)
            sink.call(key, part.id, part.name, "", False)
            sink.call(key, part.id, part.name, part.arguments, False)
        case Hosted():
            sink.hosted(part.kind, part.raw, part.family, 0)


def _think(sink: Sink, part: Thinking) -> None:
    for number, summary in enumerate(part.summaries):
        sink.thinking(summary[:1], number)
        sink.thinking(summary[1:], number)
    if part.text or (part.signature is not None and not part.is_redacted and not part.summaries):
        sink.thinking(part.text)
    if part.signature is not None:
        sink.sign(part.signature)
    sink.ended()


def reply(*parts: Part, stop: Stop | None = None, **members: Any) -> Reply:
    defaults: dict[str, Any] = {"id": "resp_1", "model": "gpt"}
    return Reply(parts=parts, stop=stop or Stop(kind="end"), **(defaults | members))


CALL = ToolCall(id="c", name="f", arguments='{"a":1}')
SEARCH = Hosted(
    kind="web_search",
    raw=RAW(encoded({"id": "ws_1", "action": {"query": "q", "sources": [{"url": "https://x"}]}})),
    family="openai",
)
CITED = {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 1}
PARTS: tuple[Part, ...] = (
    Text(text="abc"),
    Text(text="d", citations=RAW(encoded([CITED])), family="openai"),
    Refusal(text="no"),
    Thinking(text="open"),
    Thinking(summaries=("one", "two"), signature=ThoughtSignature("openai", "enc")),
    Thinking(signature=ThoughtSignature("openai", "enc"), is_redacted=True),
    Thinking(text="", signature=ThoughtSignature("anthropic", "sig")),
    Thinking(text="t", signature=ThoughtSignature("anthropic", "sig")),
    Thinking(signature=ThoughtSignature("anthropic", "data"), is_redacted=True),
    CALL,
    msgspec.structs.replace(CALL, id="d", arguments="", signature=ThoughtSignature("google", "g")),
    SEARCH,
)
USED = context("openai", request=Request(turns=(), tools=(Search(at=(0,)),)))


@given(
    parts=st.lists(st.sampled_from(PARTS), max_size=6),
    stop=st.sampled_from(
        [
            Stop(kind="end"),
            Stop(kind="sequence", sequence="x"),
            Stop(kind="blocked", category="bio", explanation="e"),
        ]
    ),
    usage=st.sampled_from(
        [None, TokenUsage(input_text=3, cache_read=2, output_text=1, reasoning=4)]
    ),
)
def test_a_stream_says_what_the_whole_answer_says(
    parts: list[Part], stop: Stop, usage: TokenUsage | None
) -> None:
    """But for texts that follow one another, between which a reader may tell no end.

    A signature is of the thinking before it: nobody sends what has none, and then a redacted
    thought.
    """
    for first, second in pairwise(parts):
        assume(
            not (isinstance(first, Thinking) and first.signature is None and _is_redacted(second))
        )
    answer = reply(*parts, stop=stop, usage=usage)
    answer_body = strict(MESSAGES.write_answer(answer, USED))
    streamed = accumulated(written_by(play(answer), USED))
    assert _joined(streamed["content"]) == _joined(answer_body["content"])
    assert streamed["usage"].items() >= _counts(answer_body["usage"]).items()
    for name in ("id", "model", "role", "stop_reason", "stop_sequence", "stop_details"):
        assert streamed.get(name) == answer_body.get(name)


def _is_redacted(part: Part) -> bool:
    return isinstance(part, Thinking) and part.is_redacted


def _joined(content: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for found in content:
        last = joined[-1] if joined else {}
        if found["type"] == last.get("type") == "text" and not last.get("citations"):
            joined[-1] = found | {"text": last["text"] + found["text"]}
        else:
            joined.append(found)
    return joined


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    return {name: usage[name] for name in names}


OWN: dict[str, tuple[list[bytes], list[Any]]] = {
    "text": (text(0, "a", "b"), [{"type": "text", "text": "ab"}]),
    "thinking and calls": (
        [
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "t"},
                {"type": "signature_delta", "signature": "s"},
            ),
            *block(
                1,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "signature_delta", "signature": "u"},
            ),
            *block(2, {"type": "redacted_thinking", "data": "d"}),
            *call(3, "c", '{"a":', "1}"),
            *call(4, "d"),
        ],
        [
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "thinking", "thinking": "", "signature": "u"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "d", "name": "f", "input": {}},
        ],
    ),
    "search": (
        [
            *block(
                0,
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"query":"q"}'},
            ),
            *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        ],
        [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        ],
    ),
}


@pytest.mark.parametrize(("frames", "content"), OWN.values(), ids=OWN)
def test_anthropics_own_stream_comes_out_as_it_went_in(
    frames: list[bytes], content: list[Any]
) -> None:
    reason = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
    streamed = accumulated(through([started(), *frames, ended(reason), STOPPED], context()))
    assert streamed["content"] == content
    assert (streamed["id"], streamed["stop_reason"]) == ("msg_1", reason)
    assert (streamed["usage"]["input_tokens"], streamed["usage"]["output_tokens"]) == (10, 5)


@given(order=st.permutations([0, 0, 0, 1, 1]), size=st.integers(min_value=1, max_value=200))
def test_calls_are_whole_however_they_were_mixed_and_cut(order: list[int], size: int) -> None:
    calls = [call(0, "c", '{"a":', '"x', 'y\u00e9"}'), call(1, "d", "{", "}")]
    deltas = [iter(found[1:-1]) for found in calls]
    mixed = [next(deltas[number]) for number in order]
    frames = [started(), calls[0][0], calls[1][0], *mixed, ended("tool_use"), STOPPED]

    content = accumulated(through(frames, context()))["content"]

    assert [(found["id"], found["input"]) for found in content] == [
        ("c", {"a": "xy\u00e9"}),
        ("d", {}),
    ]
    stream = b"".join(frames)
    splitter = FrameSplitter()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    cut = [frame for piece in pieces for frame in splitter.feed(piece)]
    assert through(cut, context()) == through(frames, context())


def test_the_order_of_events() -> None:
    answer = reply(Thinking(text="t"), Text(text="a"), CALL, stop=Stop(kind="tool"))
    events = events_of(written_by(play(answer), context("openai")))
    assert [found["type"] for found in events] == [
        "message_start", "ping",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [found["index"] for found in events if "index" in found] == [0] * 4 + [1] * 3 + [2] * 3
    assert events[4]["delta"] == {
        "type": "signature_delta",
        "signature": envelope(ThoughtSignature("none", "")),
    }


def test_the_first_event_is_sent_at_once() -> None:
    writer = MESSAGES.writer(context("openai", model="public"))
    assert writer.take() == b""
    writer.started("chatcmpl-1", "gpt", None)
    start, ping = events_of(writer.take())
    assert (start["message"]["id"], start["message"]["model"]) == ("msg_1", "public")
    assert start["message"]["usage"]["input_tokens"] == 0
    assert ping == {"type": "ping"}
    writer.text("a")
    assert b'"text":"a"' in writer.take()
    assert writer.take() == b""


def test_a_signature_that_comes_after_the_end_of_its_thinking() -> None:
    def tell(sink: Sink) -> None:
        sink.started("a", "m", None)
        sink.thinking("t")
        sink.ended()
        sink.sign(ThoughtSignature("openai", "enc"))
        sink.text("a")
        sink.stop(Stop(kind="end"))

    thought, answer_text = accumulated(written_by(tell, context("openai")))["content"]
    assert thought["signature"] == envelope(ThoughtSignature("openai", "enc"))
    assert answer_text == {"type": "text", "text": "a"}


def test_a_calls_signature_that_comes_late_follows_the_call() -> None:
    def tell(sink: Sink) -> None:
        sink.started("a", "m", None)
        sink.call(0, "c", "f", "{}", False)
        sink.sign(ThoughtSignature("google", "g"), "c")
        sink.stop(Stop(kind="tool"))

    used, signed = accumulated(written_by(tell, context("google")))["content"]
    assert (used["type"], used["input"]) == ("tool_use", {})
    assert signed["data"] == envelope(ThoughtSignature("google", '{"c":"g"}'))


def test_names_of_tools_are_the_clients() -> None:
    names = ToolNames({"f": (None, "a long name", False)})
    streamed = accumulated(written_by(play(reply(CALL)), context("openai", names=names)))
    assert streamed["content"][0]["name"] == "a long name"


def _cut(stop: Stop) -> Play:
    return play(reply(msgspec.structs.replace(CALL, arguments='{"a":'), stop=stop))


def test_a_call_that_was_cut_off_is_closed_as_it_is() -> None:
    events = events_of(written_by(_cut(Stop(kind="limit")), context("openai")))
    assert events[-3]["type"] == "content_block_stop"
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_broken_call_is_not_a_normal_end() -> None:
    with pytest.raises(AnswerBroken):
        written_by(_cut(Stop(kind="tool")), context("openai"))
    with pytest.raises(CallMalformed):
        written_by(play(reply(stop=Stop(kind="malformed"))), context("google"))


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (ReportedError(message="busy", kind="overloaded_error"), "overloaded_error", "busy"),
        (ReportedError(message="slow", status=429), "rate_limit_error", "slow"),
        (ReportedError(message="odd", status=502, code="upstream_garbled"), "api_error", "odd"),
        (
            ReportedError(message="too many tokens", code="context_length_exceeded"),
            "invalid_request_error",
            "prompt is too long: too many tokens",
        ),
    ],
)
def test_failures(failure: ReportedError, kind: str, words: str) -> None:
    writer = MESSAGES.writer(context("openai"))
    sequencer = Sequencer(writer)
    sequencer.started("a", "m", None)
    sequencer.text("a")
    writer.take()
    sequencer.failed(failure)
    writer.finish()
    (error,) = events_of(writer.take())
    assert error == {"type": "error", "error": {"type": kind, "message": words}}


def test_members_that_only_anthropic_knows() -> None:
    container = {"id": "c", "expires_at": "2026-01-01T00:00:00Z"}
    frames = [started(), *text(0, "a"), ended(container=container), STOPPED]
    assert accumulated(through(frames, context()))["container"]["id"] == "c"
    assert "container" not in accumulated(through(frames, context("deepseek")))


def test_the_error_of_a_provider_ends_the_stream() -> None:
    error = event("error", error={"type": "api_error", "message": "boom"})
    last = events_of(through([started(), *text(0, "a"), error, STOPPED], context()))[-1]
    assert last == {"type": "error", "error": {"type": "api_error", "message": "boom"}}
    assert message()["stop_reason"] == "end_turn"
