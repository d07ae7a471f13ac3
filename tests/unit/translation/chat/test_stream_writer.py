"""Chunks for clients: by the SDK's own types and accumulator, and against the JSON answer."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import (
    AnswerContext,
    Reply,
    ReportedError,
    Stop,
    Writer,
)
from services.gateway.upstream.translation.sequencer import Sequencer
from services.gateway.upstream.translation.thought_signatures import envelope
from tests.unit.translation.chat.streams import (
    DONE,
    chunk,
    chunks_of,
    fed,
    message_of,
    sse,
)

USAGE = TokenUsage(input_text=3, output_text=2, service_tier="flex")


def context(
    *, wants_usage: bool = False, is_legacy: bool = False, names: ToolNames | None = None
) -> AnswerContext:
    return AnswerContext(
        request=Request(turns=(), wants_usage=wants_usage, has_legacy_functions=is_legacy),
        fields={},
        model="asked",
        created=1_700_000_000,
        family="anthropic",
        names=names or ToolNames(),
    )


def stream_of(*events: tuple[Any, ...], stop: str = "end", **members: Any) -> bytes:
    writer = CHAT.writer(context(**members))
    writer.started("msg_1", "m", None)
    for name, *arguments in events:
        getattr(writer, name)(*arguments)
    writer.stop(Stop(kind=stop))  # type: ignore[arg-type]
    writer.finish()
    return writer.take()


def deltas(stream: bytes) -> list[Any]:
    return [c["delta"] for each in chunks_of(stream) for c in each["choices"]]


ROLE = {"role": "assistant", "refusal": None}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], [ROLE | {"content": ""}]),
        (
            [("text", "a"), ("text", 'b"é\n')],
            [ROLE | {"content": ""}, {"content": "a"}, {"content": 'b"é\n'}],
        ),
        ([("refusal", "no")], [ROLE | {"content": None}, {"refusal": "no"}]),
        (
            [("call", 0, "c1", "f", "", False), ("call", 0, "c1", "f", "{}", False)],
            [
                ROLE | {"content": None},
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                        }
                    ]
                },
                {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
            ],
        ),
        (
            [("thinking", "hm"), ("sign", ThoughtSignature("anthropic", "s")), ("text", "a")],
            [
                ROLE | {"content": None},
                {"reasoning_content": "hm"},
                {
                    "thinking_blocks": [
                        {"index": 0, "type": "thinking", "thinking": "hm", "signature": "s"}
                    ]
                },
                {"content": "a"},
            ],
        ),
    ],
)
def test_deltas(events: list[Any], expected: list[Any]) -> None:
    assert deltas(stream_of(*events)) == [*expected, {}]


def test_every_chunk_is_of_one_answer() -> None:
    stream = stream_of(("text", "a"), ("usage", USAGE), wants_usage=True)
    chunks = chunks_of(stream)
    assert {(c["id"], c["model"], c["created"], c["object"]) for c in chunks} == {
        ("chatcmpl-1", "asked", 1_700_000_000, "chat.completion.chunk")
    }
    assert [c["usage"] for c in chunks[:-1]] == [None] * 3
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert chunks[-1]["service_tier"] == "flex"


def test_usage_is_sent_only_to_clients_that_asked() -> None:
    stream = stream_of(("text", "a"), ("usage", USAGE))
    assert b'"usage"' not in stream
    # And not made up where the provider reported none.
    assert [c["usage"] for c in chunks_of(stream_of(wants_usage=True))] == [None, None]


def test_logprobs_stand_beside_their_text() -> None:
    raw = [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}]
    stream = stream_of(("text", "a", msgspec.Raw(json.dumps(raw).encode())))
    assert chunks_of(stream)[1]["choices"][0]["logprobs"] == {"content": raw, "refusal": None}


def test_openais_thinking_is_written_with_its_signature() -> None:
    message, _ = message_of(
        stream_of(
            ("thinking", "one", 0),
            ("thinking", "!", 0),
            ("thinking", "two", 1),
            ("sign", ThoughtSignature("openai", "enc")),
        )
    )
    assert message["reasoning_content"] == "one!\n\ntwo"
    (block,) = message["thinking_blocks"]
    assert (block["thinking"], block["signature"]) == (
        "one!\n\ntwo",
        envelope(ThoughtSignature("openai", "enc")),
    )


def test_unsigned_thinking_has_no_thinking_block() -> None:
    message, _ = message_of(
        stream_of(("thinking", "hm"), ("sign", ThoughtSignature("none", "")), ("text", "a"))
    )
    assert message["reasoning_content"] == "hm"
    assert "thinking_blocks" not in message


@pytest.mark.parametrize("is_early", [True, False])
def test_a_calls_signature_may_come_before_it(is_early: bool) -> None:
    signature = ("sign", ThoughtSignature("google", "s"), "c1")
    call = ("call", 0, "c1", "f", "{}", False)
    message, _ = message_of(
        stream_of(*([signature, call] if is_early else [call, signature]), stop="tool")
    )
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s"}}


def test_custom_tools() -> None:
    message, _ = message_of(
        stream_of(
            ("call", 0, "c1", "f", "", True),
            ("call", 0, "c1", "f", "x ", True),
            ("call", 0, "c1", "f", "y", True),
            # Offered as a function, so its input can be told when it is whole.
            ("call", 1, "c2", "sent", '{"inp', False),
            ("call", 1, "c2", "sent", 'ut": "z"}', False),
            names=ToolNames({"f": (None, "f", True), "sent": (None, "g", True)}),
            stop="tool",
        )
    )
    assert [call["custom"] for call in message["tool_calls"]] == [
        {"name": "f", "input": "x y"},
        {"name": "g", "input": "z"},
    ]


def test_the_first_form_of_tools() -> None:
    stream = stream_of(
        ("call", 0, "c1", "f", '{"a"', False),
        ("call", 0, "c1", "f", ":1}", False),
        ("call", 1, "c2", "f", "{}", False),
        is_legacy=True,
        stop="tool",
    )
    message, reason = message_of(stream)
    assert reason == "function_call"
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert [call["index"] for call in message["tool_calls"]] == [0]


def test_citations_follow_the_end_of_their_text() -> None:
    location = {"type": "web_search_result_location", "url": "https://x", "title": "t"}
    message, _ = message_of(
        stream_of(
            ("text", "abc"),
            ("ended",),
            ("cite", msgspec.Raw(b'{"url": "not of this text"'), "anthropic"),
            ("text", "d"),
            ("cite", msgspec.Raw(json.dumps(location).encode()), "anthropic"),
            ("text", "e"),
        )
    )
    assert message["content"] == "abcde"
    assert [each["url_citation"] for each in message["annotations"]] == [
        {"start_index": 3, "end_index": 5, "url": "https://x", "title": "t"}
    ]


def test_why_it_was_blocked() -> None:
    writer = CHAT.writer(context())
    writer.started("1", "m", None)
    writer.stop(Stop(kind="blocked", explanation="why"))
    writer.finish()
    assert message_of(writer.take()) == (
        {"role": "assistant", "content": None, "refusal": "why"},
        "content_filter",
    )


def _failed(writer: Writer) -> Any:
    writer.finish()
    frames = writer.take().split(b"\n\n")
    assert frames[-1] == b""
    assert b"[DONE]" not in frames[-2]
    return json.loads(frames[-2].removeprefix(b"data: "))["error"]


def test_a_failure_ends_the_stream() -> None:
    writer = CHAT.writer(context())
    writer.started("1", "m", None)
    writer.text("a")
    writer.failed(ReportedError(message="boom", status=429, code="rate_limit_exceeded"))
    writer.failed(ReportedError(message="again"))
    assert _failed(writer) == {
        "message": "boom",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }


def test_a_failure_before_anything_else() -> None:
    writer = CHAT.writer(context())
    writer.failed(ReportedError(message="boom"))
    assert _failed(writer)["type"] == "api_error"


def test_a_malformed_call_is_an_error() -> None:
    writer = CHAT.writer(context())
    writer.started("1", "m", None)
    writer.stop(Stop(kind="malformed"))
    assert _failed(writer)["code"] == "upstream_malformed_call"


_words = st.text('ab é😀"\\\n', min_size=1, max_size=8)
_signatures = st.sampled_from(
    [
        None,
        ThoughtSignature("anthropic", "s"),
        ThoughtSignature("openai", "o"),
        ThoughtSignature("none", ""),
    ]
)
_calls = st.builds(
    lambda words, signature: (words, ThoughtSignature("google", "g") if signature else None),
    _words,
    st.booleans(),
)
_kinds = st.one_of(
    st.tuples(st.just("text"), _words),
    st.tuples(st.just("refusal"), _words),
    st.tuples(st.just("thinking"), st.tuples(_words, _signatures)),
    st.tuples(st.just("redacted"), st.none()),
    st.tuples(st.just("call"), _calls),
)


def _parts(kinds_and_values: list[Any]) -> list[Part]:
    parts: list[Part] = []
    for index, (kind, data) in enumerate(kinds_and_values):
        if kind == "text":
            parts.append(Text(text=data))
        elif kind == "refusal":
            parts.append(Refusal(text=data))
        elif kind == "thinking":
            parts.append(Thinking(text=data[0], signature=data[1]))
        elif kind == "redacted":
            parts.append(Thinking(signature=ThoughtSignature("anthropic", "r"), is_redacted=True))
        else:
            arguments = json.dumps({"a": data[0]})
            parts.append(ToolCall(id=f"c{index}", name="f", arguments=arguments, signature=data[1]))
    return parts


def _streamed(parts: list[Part], writer: Writer) -> None:
    """Text and arguments in deltas of three letters."""
    sink = Sequencer(writer)
    sink.started("msg_1", "m", None)
    for key, part in enumerate(parts):
        sink.ended()
        if isinstance(part, Text | Refusal):
            for start in range(0, len(part.text), 3):
                tell = sink.text if isinstance(part, Text) else sink.refusal
                tell(part.text[start : start + 3])
        elif isinstance(part, Thinking):
            for start in range(0, len(part.text), 3):
                sink.thinking(part.text[start : start + 3])
            if part.signature is not None:
                sink.sign(part.signature)
        elif isinstance(part, ToolCall):
            for start in range(0, len(part.arguments), 3):
                piece = part.arguments[start : start + 3]
                sink.call(key, part.id, part.name, piece, part.is_freeform)
            if part.signature is not None:
                sink.sign(part.signature, part.id)
    sink.usage(USAGE)
    sink.stop(Stop(kind="end"))
    writer.finish()


@given(st.lists(_kinds, max_size=6))
def test_a_stream_says_what_the_whole_answer_says(kinds_and_values: list[Any]) -> None:
    parts = _parts(kinds_and_values)
    answer_context = context(wants_usage=True)
    reply = Reply(
        id="msg_1", model="m", parts=tuple(parts), stop=Stop(kind="end"), usage=USAGE, tier="flex"
    )
    answer = json.loads(CHAT.write_answer(reply, answer_context))
    writer = CHAT.writer(answer_context)
    _streamed(parts, writer)
    stream = writer.take()
    message, reason = message_of(stream)
    for each in (*message.get("tool_calls", ()), *message.get("thinking_blocks", ())):
        # By it, accumulators put the deltas together.
        del each["index"]
    assert message == answer["choices"][0]["message"]
    assert reason == answer["choices"][0]["finish_reason"]
    last = chunks_of(stream)[-1]
    assert last["usage"] == answer["usage"]
    assert last["service_tier"] == answer["service_tier"]


def test_chat_to_chat_is_what_it_was() -> None:
    """Through reader, sequencer and writer, calls that came interleaved are one after the other."""
    calls = [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": ""}}
        for n in range(2)
    ]
    stream = sse(
        chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
        chunk({"tool_calls": calls}),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": '{"b"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": ":2}"}}]}),
        chunk(reason="stop"),
    )
    writer = CHAT.writer(context())
    assert fed(Sequencer(writer), stream + DONE)
    writer.finish()
    message, reason = message_of(writer.take())
    assert reason == "tool_calls"
    assert message["reasoning_content"] == "hm"
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [
        '{"a":1}',
        '{"b":2}',
    ]
