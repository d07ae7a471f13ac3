"""Whole messages: read from a provider, written for a client, both ways the same."""

from typing import Any

import msgspec
import pytest

from libs.common.errors import AnswerBroken, CallMalformed, UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.parts import (
    Hosted,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Stop
from services.gateway.upstream.translation.thought_signatures import envelope
from tests.unit.translation.messages.answers import USAGE, context, encoded, message, strict

RAW = msgspec.Raw
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}
CITATION = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
    "file_id": None,
}
SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "a"},
}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
OWN: dict[str, list[Any]] = {
    "text": [{"type": "text", "text": "a"}],
    "texts": [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "citations": [CITATION]},
    ],
    "thinking": [{"type": "thinking", "thinking": "t", "signature": "s"}],
    "thinking not shown": [{"type": "thinking", "thinking": "", "signature": "s"}],
    "redacted": [{"type": "redacted_thinking", "data": "d"}],
    "interleaved": [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        CALL,
        {"type": "thinking", "thinking": "u", "signature": "v"},
        CALL | {"id": "toolu_2", "caller": {"type": "direct"}},
    ],
    "search": [SEARCH, FOUND, {"type": "text", "text": "a"}],
    "compaction": [{"type": "compaction", "content": "c", "encrypted_content": None}],
    "nothing": [],
}


def read(answer: dict[str, Any], family: str = "anthropic") -> Reply:
    reply = MESSAGES.read_answer(encoded(answer), family)
    assert isinstance(reply, Reply)
    return reply


def write(reply: Reply, **changes: Any) -> dict[str, Any]:
    return strict(MESSAGES.write_answer(reply, context(**changes)))


def reply(*parts: Part, stop: Stop | None = None, **members: Any) -> Reply:
    defaults: dict[str, Any] = {"id": "chatcmpl-1", "model": "gpt"}
    return Reply(parts=parts, stop=stop or Stop(kind="end"), **(defaults | members))


@pytest.mark.parametrize("content", OWN.values(), ids=OWN)
def test_anthropics_own_comes_out_as_it_went_in(content: list[Any]) -> None:
    end = "tool_use" if CALL in content else "end_turn"
    answer = message(
        *content, stop_reason=end, container={"id": "c", "expires_at": "2026-01-01T00:00:00Z"}
    )
    rewritten = write(read(answer))
    assert {**rewritten, "usage": answer["usage"]} == answer


def test_ids_and_the_name_that_was_asked_for() -> None:
    assert write(reply(Text(text="a")))["id"] == "msg_1"
    assert write(reply(Text(text="a"), id="resp_ab"))["id"] == "msg_ab"
    assert write(reply(Text(text="a"), id=""))["id"] == "msg_1700000000"
    assert write(reply(Text(text="a")), model="public")["model"] == "public"


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (
            Thinking(summaries=("a", "b"), signature=ThoughtSignature("openai", "enc")),
            [
                {
                    "type": "thinking",
                    "thinking": "a\n\nb",
                    "signature": envelope(ThoughtSignature("openai", "enc")),
                }
            ],
        ),
        (
            Thinking(signature=ThoughtSignature("openai", "enc")),
            [{"type": "redacted_thinking", "data": envelope(ThoughtSignature("openai", "enc"))}],
        ),
        (
            Thinking(text="a"),
            [
                {
                    "type": "thinking",
                    "thinking": "a",
                    "signature": envelope(ThoughtSignature("none", "")),
                }
            ],
        ),
        (Thinking(), []),
        (Text(text=""), []),
        (Refusal(text="no"), [{"type": "text", "text": "no"}]),
        (Opaque(kind="x", raw=RAW(b"{}"), family="openai"), []),
        (
            ToolCall(id="c", name="f", arguments="{}", signature=ThoughtSignature("google", "g")),
            [
                {
                    "type": "redacted_thinking",
                    "data": envelope(ThoughtSignature("google", '{"c":"g"}')),
                },
                {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            ],
        ),
    ],
)
def test_parts_of_other_families(part: Part, content: list[Any]) -> None:
    assert write(reply(part), family="openai")["content"] == content


def test_signatures_survive_a_round_trip_through_the_client() -> None:
    """The conversation that goes back holds the same signatures."""
    parts = (
        Thinking(summaries=("a",), signature=ThoughtSignature("openai", "enc")),
        Thinking(is_redacted=True, signature=ThoughtSignature("openai", "e2")),
        Thinking(text="open", signature=ThoughtSignature("none", "")),
        ToolCall(id="c", name="f", arguments="{}", signature=ThoughtSignature("google", "g")),
    )
    content = write(reply(*parts), family="openai")["content"]
    turn = {"role": "assistant", "content": content}
    request = MESSAGES.read_request({"messages": RAW(encoded([turn]))})
    parts_back = [msgspec.structs.replace(part, at=()) for part in request.turns[0].parts]
    assert tuple(parts_back) == parts


def test_a_search_of_openai() -> None:
    action = {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://x"}]}
    call = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": action}
    cited = {
        "type": "url_citation",
        "url": "https://x",
        "title": "t",
        "start_index": 0,
        "end_index": 2,
    }
    parts = (
        Hosted(kind="web_search", raw=RAW(encoded(call)), family="openai", id="ws_1"),
        Text(text="abc", citations=RAW(encoded([cited, {"type": "file_path"}])), family="openai"),
    )
    answer = write(reply(*parts, usage=TokenUsage(web_searches=1)), family="openai")
    use, result, text = answer["content"]
    assert (use["type"], use["input"]) == ("server_tool_use", {"query": "q"})
    assert result["tool_use_id"] == use["id"]
    assert [found["url"] for found in result["content"]] == ["https://x"]
    (citation,) = text["citations"]
    assert (citation["url"], citation["cited_text"]) == ("https://x", "ab")
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == 1
    turn = {"role": "assistant", "content": answer["content"]}
    (part,) = MESSAGES.read_request({"messages": RAW(encoded([turn]))}).turns[0].parts
    assert part == Text(text="abc", at=(0, 2))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [('{"a":1}', {"a": 1}), ("", {}), (" {} ", {})],
)
def test_arguments(arguments: str, found: dict[str, Any]) -> None:
    call = ToolCall(id="c", name="f", arguments=arguments)
    answer = write(reply(call, stop=Stop(kind="tool")), family="openai")
    assert answer["content"][0]["input"] == found
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "null", "5", "{}{}"])
def test_broken_arguments(arguments: str) -> None:
    call = ToolCall(id="c", name="f", arguments=arguments)
    with pytest.raises(AnswerBroken, match="the tool f with arguments that are not a JSON object"):
        write(reply(call, stop=Stop(kind="tool")), family="openai")
    cut = write(reply(Text(text="a"), call, stop=Stop(kind="limit")), family="openai")
    assert cut["content"] == [{"type": "text", "text": "a"}]
    assert cut["stop_reason"] == "max_tokens"


def test_names_of_tools_are_the_clients() -> None:
    names = ToolNames({"short": (None, "a long name", False)})
    call = ToolCall(id="c", name="short", arguments="{}")
    answer = write(reply(call), family="openai", names=names)
    assert answer["content"][0]["name"] == "a long name"


ENDS: tuple[tuple[dict[str, Any], Stop], ...] = (
    ({"stop_reason": "end_turn"}, Stop(kind="end", reason="end_turn")),
    ({"stop_reason": "tool_use"}, Stop(kind="end", reason="tool_use")),
    ({"stop_reason": "max_tokens"}, Stop(kind="limit", reason="max_tokens")),
    (
        {"stop_reason": "model_context_window_exceeded"},
        Stop(kind="window", reason="model_context_window_exceeded"),
    ),
    (
        {"stop_reason": "stop_sequence", "stop_sequence": "x"},
        Stop(kind="sequence", reason="stop_sequence", sequence="x"),
    ),
    ({"stop_reason": "pause_turn"}, Stop(kind="pause", reason="pause_turn")),
    ({"stop_reason": "compaction"}, Stop(kind="pause", reason="compaction")),
    (
        {
            "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "category": "bio", "explanation": "e"},
        },
        Stop(kind="blocked", reason="refusal", category="bio", explanation="e"),
    ),
    ({"stop_reason": "brand_new"}, Stop(kind="end", reason="brand_new")),
)


@pytest.mark.parametrize(("members", "stop"), ENDS)
def test_how_an_answer_ended(members: dict[str, Any], stop: Stop) -> None:
    found = read(message({"type": "text", "text": "a"}, **members))
    assert found.stop == stop
    answer = write(found)
    if stop.reason not in ("brand_new", "tool_use"):
        assert {name: answer[name] for name in members} == members


def test_calls_tell_that_it_ended_for_them() -> None:
    assert read(message(CALL)).stop.kind == "tool"


@pytest.mark.parametrize(
    ("stop", "reason", "details"),
    [
        (Stop(kind="declined"), "refusal", None),
        (Stop(kind="blocked", reason="content_filter"), "refusal", None),
        (
            Stop(kind="blocked", category="SAFETY", explanation="e"),
            "refusal",
            {"type": "refusal", "category": None, "explanation": "e"},
        ),
        (Stop(kind="window"), "model_context_window_exceeded", None),
    ],
)
def test_ends_of_other_families(stop: Stop, reason: str, details: Any) -> None:
    answer = write(reply(stop=stop), family="openai")
    assert (answer["stop_reason"], answer.get("stop_details")) == (reason, details)


def test_a_call_that_the_provider_could_not_read() -> None:
    with pytest.raises(CallMalformed):
        write(reply(stop=Stop(kind="malformed")), family="google")


def test_usage() -> None:
    usage = TokenUsage(
        input_text=7,
        input_image=3,
        cache_read=5,
        cache_write_5m=1,
        cache_write_30m=2,
        cache_write_1h=4,
        output_text=6,
        reasoning=8,
        service_tier="flex",
    )
    wire_usage = write(reply(usage=usage), family="openai")["usage"]
    assert wire_usage == {
        "input_tokens": 10,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        "output_tokens": 14,
        "output_tokens_details": {"thinking_tokens": 8},
        "service_tier": None,
    }
    assert write(reply(), family="openai")["usage"]["input_tokens"] == 0


def test_usage_is_read_as_the_ledger_reads_it() -> None:
    found = read(message({"type": "text", "text": "a"}, usage=USAGE | {"service_tier": "standard"}))
    assert found.usage == TokenUsage(input_text=10, output_text=5, service_tier="standard")
    assert found.tier == "default"
    assert read(message(usage=None)).usage is None
    assert read(message(usage={})).usage is None
    refused = read(message(stop_reason="refusal")).usage
    assert refused is not None
    assert refused.unbilled


def test_an_error_under_a_status_200() -> None:
    body = encoded({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    assert MESSAGES.read_answer(body, "anthropic") == ReportedError(
        message="busy", kind="overloaded_error"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"type":"message"}', b'{"content":[5]}'])
def test_an_unreadable_answer_fails(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        MESSAGES.read_answer(body, "anthropic")


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (
            b'{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}',
            ReportedError(message="too long", status=400, kind="invalid_request_error"),
        ),
        (
            b'{"error":{"type":"x","message":"m","details":{"error_code":"thread_not_found"}}}',
            ReportedError(message="m", status=400, kind="x", code="thread_not_found"),
        ),
        (b'{"error":"no"}', ReportedError(message="no", status=400)),
        (b'{"message":"no"}', ReportedError(message="no", status=400)),
        (b"<html>no</html>", ReportedError(message="<html>no</html>", status=400)),
        (b"", ReportedError(message="The provider gave no reason.", status=400)),
        (b'{"error":{"message":5}}', ReportedError(message='{"message":5}', status=400)),
        (b"\xff", ReportedError(message="\ufffd", status=400)),
    ],
)
def test_errors(body: bytes, failure: ReportedError) -> None:
    assert MESSAGES.read_error(400, body) == failure
