"""What a sink is told of a provider's stream in Anthropic's format."""

from typing import Any

import pytest

from libs.common.errors import UpstreamFailed
from services.gateway.upstream.translation.reply import ReportedError, Stop
from tests.unit.translation.messages.answers import (
    STOPPED,
    Recorder,
    block,
    call,
    encoded,
    ended,
    event,
    read_stream,
    started,
    text,
)

START = ("started", "msg_1", "asked")
CITATION = {"type": "char_location", "cited_text": "a", "document_index": 0}


def record(*frames: bytes | list[bytes], reason: str = "end_turn") -> Recorder:
    flat = [each for found in frames for each in (found if isinstance(found, list) else [found])]
    recorder, is_whole = read_stream([started(), *flat, ended(reason), STOPPED])
    assert is_whole
    assert recorder.events.pop(0) == START
    return recorder


BLOCKS: dict[str, tuple[list[bytes], list[tuple[Any, ...]]]] = {
    "text": (text(0, "a", "", "b"), [("text", "ab"), ("ended",)]),
    "two texts": (
        [*text(0, "a"), *text(1, "b")],
        [("text", "a"), ("ended",), ("text", "b"), ("ended",)],
    ),
    "text at its beginning": (
        block(0, {"type": "text", "text": "a"}, {"type": "text_delta", "text": "b"}),
        [("text", "ab"), ("ended",)],
    ),
    "citations after their text": (
        block(
            0,
            {"type": "text", "text": "", "citations": []},
            {"type": "citations_delta", "citation": CITATION},
            {"type": "text_delta", "text": "a"},
        ),
        [("text", "a"), ("cite", CITATION, "anthropic"), ("ended",)],
    ),
    "thinking": (
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "a"},
            {"type": "thinking_delta", "thinking": "b"},
            {"type": "signature_delta", "signature": "s"},
        ),
        [("thinking", "ab"), ("sign", "anthropic", "s"), ("ended",)],
    ),
    "thinking not shown": (
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "signature_delta", "signature": "s"},
        ),
        [("thinking", ""), ("sign", "anthropic", "s"), ("ended",)],
    ),
    "unsigned thinking": (
        block(0, {"type": "thinking", "thinking": "a"}),
        [("thinking", "a"), ("ended",)],
    ),
    "redacted": (
        block(0, {"type": "redacted_thinking", "data": "d"}),
        [("sign", "anthropic", "d"), ("ended",)],
    ),
    "call": (call(0, "c", '{"a"', ":1}"), [("call", 0, "c", "f", '{"a":1}')]),
    "call without arguments": (call(0, "c"), [("call", 0, "c", "f", "{}")]),
    "call with an empty delta": (call(0, "c", ""), [("call", 0, "c", "f", "{}")]),
    "call with its input at the beginning": (
        block(0, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}),
        [("call", 0, "c", "f", '{"a":1}')],
    ),
    "calls of one index": (
        [*call(0, "c", "{}"), *call(0, "d", "{}")],
        [("call", 0, "c", "f", "{}"), ("call", 1, "d", "f", "{}")],
    ),
    "blocks that do not end": (
        [each for number in (0, 1) for each in call(number, f"c{number}")[:-1]],
        [
            ("call", 0, "c0", "f", ""),
            ("call", 1, "c1", "f", ""),
            ("call", 0, "c0", "f", "{}"),
            ("call", 1, "c1", "f", "{}"),
        ],
    ),
    "a search": (
        [
            *block(
                0,
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"query"'},
                {"type": "input_json_delta", "partial_json": ':"q"}'},
            ),
            *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        ],
        [
            (
                "hosted",
                "web_search",
                {
                    "type": "server_tool_use",
                    "id": "s",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
                "anthropic",
            ),
            (
                "hosted",
                "web_search",
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                "anthropic",
            ),
        ],
    ),
    "compaction": (
        block(
            0,
            {"type": "compaction", "content": None},
            {"type": "compaction_delta", "content": "sum"},
        ),
        [("hosted", "compaction", {"type": "compaction", "content": "sum"}, "anthropic")],
    ),
    "what this version does not know": (
        [
            event("brand_new", index=0),
            *block(0, {"type": "text", "text": "a"}, {"type": "new_delta"}),
        ],
        [("text", "a"), ("ended",)],
    ),
    "text without a beginning": (
        [event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})],
        [("text", "a"), ("ended",)],
    ),
    "pings and comments": (
        [event("ping"), b": keep-alive\n\n", *text(0, "a")],
        [("text", "a"), ("ended",)],
    ),
    "half a character": (
        [text(0, "?")[1].replace(b"?", b"\\u" + half) for half in (b"d83d", b"de00")],
        [("text", "\U0001f600"), ("ended",)],
    ),
}


@pytest.mark.parametrize(("frames", "parts"), BLOCKS.values(), ids=BLOCKS)
def test_blocks(frames: list[bytes], parts: list[tuple[Any, ...]]) -> None:
    assert record(frames).events == parts


def test_blocks_that_are_interleaved() -> None:
    first, second = call(0, "c", '{"a":', "1}"), call(1, "d", "{}")
    mixed = [first[0], first[1], second[0], second[1], first[2], first[3], second[2]]
    calls = [each[2:] for each in record(mixed).events if each[0] == "call"]
    assert "".join(delta for call_id, _, delta in calls if call_id == "c") == '{"a":1}'
    assert "".join(delta for call_id, _, delta in calls if call_id == "d") == "{}"


def test_nothing_is_cut_at_the_first_end() -> None:
    """Some servers tell of the end in several events, the last of which has the counts."""
    frames = [
        started(),
        event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 1}),
        *text(0, "late"),
        event(
            "message_delta",
            delta={"stop_reason": None, "stop_details": {"type": "refusal", "category": "bio"}},
            usage={"output_tokens": 9},
        ),
        STOPPED,
        *text(1, "after"),
    ]
    recorder, is_whole = read_stream(frames)
    assert is_whole
    assert recorder.events == [START, ("text", "late"), ("ended",)]
    assert recorder.stopped == Stop(kind="blocked", reason="refusal", category="bio")
    assert (recorder.usages[-1].input_text, recorder.usages[-1].output_text) == (10, 9)


def test_usage_is_known_from_the_start() -> None:
    recorder, is_whole = read_stream([started(), *text(0, "a")])
    assert not is_whole
    assert recorder.usages[-1].input_text == 10
    assert recorder.stopped is None


def test_usage_that_cannot_be_read_spoils_nothing() -> None:
    odd = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": "many"})
    recorder, is_whole = read_stream([started(usage=None), *text(0, "a"), odd, STOPPED])
    assert is_whole
    assert recorder.stopped == Stop(kind="end", reason="end_turn")


def test_a_refusal_before_any_output_costs_nothing() -> None:
    recorder = record(reason="refusal")
    assert recorder.usages[-1].unbilled
    assert not record(text(0, "a"), reason="refusal").usages[-1].unbilled


@pytest.mark.parametrize(("first", "last"), [("end_turn", "refusal"), ("refusal", "end_turn")])
def test_the_last_word_of_a_stream_says_whether_it_is_charged_for(first: str, last: str) -> None:
    word = event("message_delta", delta={"stop_reason": last})
    recorder, _ = read_stream([started(), ended(first), word, STOPPED])
    assert recorder.usages[-1].unbilled == (last == "refusal")


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ((text(0, "a"),), "end"),
        ((call(0, "c"),), "tool"),
    ],
)
@pytest.mark.parametrize("reason", ["end_turn", "tool_use", "brand_new"])
def test_calls_decide_whether_it_ended_for_them(frames: Any, kind: str, reason: str) -> None:
    stopped = record(*frames, reason=reason).stopped
    assert stopped is not None
    assert (stopped.kind, stopped.reason) == (kind, reason)


def test_a_stream_with_a_stop_reason_or_a_last_event_is_complete() -> None:
    assert read_stream([started(), *text(0, "a"), ended()])[1]
    assert not read_stream([started(), *text(0, "a")])[1]
    assert read_stream([started(), *text(0, "a"), STOPPED])[1]
    assert not read_stream([])[1]


FAILED: dict[str, tuple[list[bytes], ReportedError]] = {
    "error": (
        [event("error", error={"type": "overloaded_error", "message": "busy"})],
        ReportedError(message="busy", kind="overloaded_error"),
    ),
    "second start": (
        [*text(0, "a"), started()],
        ReportedError(
            message="The provider began a second answer within one stream.",
            status=502,
            code="upstream_garbled",
        ),
    ),
    "start of another": (
        [started(id="msg_2")],
        ReportedError(
            message="The provider began a second answer within one stream.",
            status=502,
            code="upstream_garbled",
        ),
    ),
    "arguments of no call": (
        [
            event(
                "content_block_delta",
                index=3,
                delta={"type": "input_json_delta", "partial_json": "{"},
            )
        ],
        ReportedError(
            message="The provider sent arguments of a call that had not begun.",
            status=502,
            code="upstream_garbled",
        ),
    ),
    "too many at once": (
        [
            event("content_block_start", index=number, content_block={"type": "text", "text": ""})
            for number in range(300)
        ],
        ReportedError(
            message="The provider began too many blocks at once.",
            status=502,
            code="upstream_garbled",
        ),
    ),
}


@pytest.mark.parametrize(("frames", "failure"), FAILED.values(), ids=FAILED)
def test_failures(frames: list[bytes], failure: ReportedError) -> None:
    recorder, is_whole = read_stream([started(), *frames, ended(), STOPPED])
    assert (recorder.failure, recorder.stopped, is_whole) == (failure, None, False)


def test_the_same_start_twice_is_one() -> None:
    recorder, is_whole = read_stream([started(), started(), *text(0, "a"), ended(), STOPPED])
    assert is_whole
    assert recorder.failure is None


def test_a_kept_block_is_bounded() -> None:
    begin = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    large = {"type": "input_json_delta", "partial_json": "x" * 3_000_000}
    recorder, is_whole = read_stream([started(), *block(0, begin, large, large)])
    assert not is_whole
    assert recorder.failure is not None
    assert recorder.failure.code == "upstream_unreadable"


@pytest.mark.parametrize(
    "frame",
    [
        b"data: {\n\n",
        b'data: {"type":"content_block_start","index":0,"content_block":5}\n\n',
        b'data: {"type":5}\n\n',
        b"data: " + encoded({"type": "content_block_start"}) + b"\n\n",
    ],
)
def test_an_unreadable_frame_fails(frame: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read_stream([started(), frame])
