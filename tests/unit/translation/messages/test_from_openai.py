"""What Anthropic's clients get of providers that speak OpenAI's formats, whole and as streams."""

from typing import Any

import msgspec
import pytest

from libs.common.errors import AnswerBroken
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.reply import Reply
from services.gateway.upstream.translation.responses import RESPONSES
from services.gateway.upstream.translation.sequencer import Sequencer
from services.gateway.upstream.translation.thought_signatures import envelope
from services.gateway.upstream.translation.tools import Search
from tests.unit.translation.messages.answers import accumulated, context, encoded, event, strict

SEARCHING = Request(turns=(), tools=(Search(at=(0,)),))
TEXT = {"type": "text", "text": "a"}
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def use(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def thought(text: str, family: str, data: str = "") -> dict[str, Any]:
    signed = envelope(ThoughtSignature(family, data))
    return {"type": "thinking", "thinking": text, "signature": signed}


def streamed(language: Language, family: str, frames: list[bytes]) -> dict[str, Any]:
    writer = MESSAGES.writer(context(family, request=SEARCHING))
    reader = language.reader(Sequencer(writer), family)
    stream = b""
    for each in frames:
        reader.feed(each)
        stream += writer.take()
    assert reader.end()
    writer.finish()
    return accumulated(stream + writer.take())


def whole_answer(language: Language, family: str, body: dict[str, Any]) -> dict[str, Any]:
    reply = language.read_answer(encoded(body), family)
    assert isinstance(reply, Reply)
    return strict(MESSAGES.write_answer(reply, context(family, request=SEARCHING)))


def chunk(delta: dict[str, Any], end: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": end}


def chunks(*choices: dict[str, Any]) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "g"}
    frames = [head | {"choices": [choice]} for choice in choices]
    payloads = [*frames, head | {"choices": [], "usage": USAGE}]
    return [*(b"data: " + encoded(each) + b"\n\n" for each in payloads), b"data: [DONE]\n\n"]


def completion(message: dict[str, Any], end: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": end}
    return {"id": "chatcmpl-1", "created": 1, "model": "g", "choices": [choice], "usage": USAGE}


def calls(*tool_calls: tuple[str, str, str], **members: Any) -> dict[str, Any]:
    return {
        "tool_calls": [
            {"index": index, "id": call_id, "type": "function"}
            | {"function": {"name": name, "arguments": arguments}}
            | members
            for index, (call_id, name, arguments) in enumerate(tool_calls)
        ]
    }


SIGNED = {"extra_content": {"google": {"thought_signature": "sig"}}}
CHATS: dict[str, tuple[dict[str, Any], str, str, list[Any]]] = {
    "two calls in one chunk": (
        calls(("c1", "f", '{"a":1}'), ("c2", "g", "{}")),
        "tool_calls",
        "tool_use",
        [use("c1", "f", {"a": 1}), use("c2", "g", {})],
    ),
    "calls that end as if there were none": (
        calls(("c1", "f", "{}")),
        "stop",
        "tool_use",
        [use("c1", "f", {})],
    ),
    "a call without arguments": (
        calls(("c1", "f", "")),
        "tool_calls",
        "tool_use",
        [use("c1", "f", {})],
    ),
    "a call that Gemini signed": (
        calls(("c1", "f", "{}"), **SIGNED),
        "tool_calls",
        "tool_use",
        [
            {
                "type": "redacted_thinking",
                "data": envelope(ThoughtSignature("google", '{"c1":"sig"}')),
            },
            use("c1", "f", {}),
        ],
    ),
    "an end for calls without any": ({"content": "a"}, "tool_calls", "end_turn", [TEXT]),
    "a refusal in words": ({"refusal": "a"}, "stop", "refusal", [TEXT]),
    "blocked": ({"content": "a"}, "content_filter", "refusal", [TEXT]),
    "blocked before any text": ({}, "content_filter", "refusal", []),
    "cut off": ({"content": "a"}, "length", "max_tokens", [TEXT]),
    "open thinking": (
        {"reasoning_content": "t", "content": "a"},
        "stop",
        "end_turn",
        [thought("t", "none"), TEXT],
    ),
    "an unknown end": ({"content": "a"}, "brand_new", "end_turn", [TEXT]),
}


@pytest.mark.parametrize(("said", "end", "reason", "content"), CHATS.values(), ids=CHATS)
def test_chat(said: dict[str, Any], end: str, reason: str, content: list[Any]) -> None:
    answers = (
        whole_answer(CHAT, "google", completion(said, end)),
        streamed(CHAT, "google", chunks(chunk(said), chunk({}, end))),
    )
    for answer in answers:
        assert answer["content"] == content
        assert answer["stop_reason"] == reason
        assert answer["usage"]["input_tokens"] == 10
        assert answer["usage"]["output_tokens"] == 5


def test_a_truncated_call_is_not_a_failure() -> None:
    message = {"content": "a", **calls(("c1", "f", '{"a": '))}
    answer = whole_answer(CHAT, "openai", completion(message, "length"))
    assert (answer["content"], answer["stop_reason"]) == ([TEXT], "max_tokens")
    stream = streamed(CHAT, "openai", chunks(chunk(message), chunk({}, "length")))
    assert stream["stop_reason"] == "max_tokens"


def test_a_broken_call_is_one() -> None:
    message = calls(("c1", "f", '{"a": '))
    with pytest.raises(AnswerBroken):
        whole_answer(CHAT, "openai", completion(message, "tool_calls"))
    with pytest.raises(AnswerBroken):
        streamed(CHAT, "openai", chunks(chunk(message), chunk({}, "tool_calls")))


def response(status: str = "completed", *output: Any, **members: Any) -> dict[str, Any]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "g"}
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return head | {"status": status, "output": list(output), "usage": usage} | members


def items(status: str, *output: Any, **members: Any) -> list[bytes]:
    """The events of which Codex builds its history: each item whole."""
    frames = [event("response.created", response=response("in_progress"))]
    for index, item in enumerate(output):
        frames += [
            event("response.output_item.added", output_index=index, item=item | {"content": []}),
            event("response.output_item.done", output_index=index, item=item),
        ]
    ended = response(status, *output, **members)
    return [*frames, event(f"response.{status}", response=ended)]


REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": text} for text in ("one", "two")],
    "encrypted_content": "enc",
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": ""}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "a", "annotations": []}],
}
RESPONSES_OF: dict[str, tuple[str, list[Any], dict[str, Any], str, list[Any]]] = {
    "reasoning with a summary": (
        "completed",
        [REASONING, CALL],
        {},
        "tool_use",
        [thought("one\n\ntwo", "openai", "enc"), use("c1", "f", {})],
    ),
    "reasoning without": (
        "completed",
        [REASONING | {"summary": []}, MESSAGE],
        {},
        "end_turn",
        [{"type": "redacted_thinking", "data": envelope(ThoughtSignature("openai", "enc"))}, TEXT],
    ),
    "a refusal": (
        "completed",
        [MESSAGE | {"content": [{"type": "refusal", "refusal": "a"}]}],
        {},
        "refusal",
        [TEXT],
    ),
    "cut off": (
        "incomplete",
        [MESSAGE],
        {"incomplete_details": {"reason": "max_output_tokens"}},
        "max_tokens",
        [TEXT],
    ),
    "blocked": (
        "incomplete",
        [],
        {"incomplete_details": {"reason": "content_filter"}},
        "refusal",
        [],
    ),
}


@pytest.mark.parametrize(
    ("status", "output", "members", "reason", "content"), RESPONSES_OF.values(), ids=RESPONSES_OF
)
def test_responses(
    status: str, output: list[Any], members: dict[str, Any], reason: str, content: list[Any]
) -> None:
    answers = (
        whole_answer(RESPONSES, "openai", response(status, *output, **members)),
        streamed(RESPONSES, "openai", items(status, *output, **members)),
    )
    for answer in answers:
        assert answer["content"] == content
        assert answer["stop_reason"] == reason
        assert answer["usage"]["input_tokens"] == 10


def test_a_search_of_openai() -> None:
    action = {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://x"}]}
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": action}
    cited = {"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0}
    part = {"type": "output_text", "text": "a", "annotations": [cited | {"end_index": 1}]}
    output = [search, MESSAGE | {"content": [part]}]
    answers = (
        whole_answer(RESPONSES, "openai", response("completed", *output)),
        streamed(RESPONSES, "openai", items("completed", *output)),
    )
    assert answers[0]["content"] == answers[1]["content"]
    tool_use, result, text = answers[0]["content"]
    assert (tool_use["name"], tool_use["input"]) == ("web_search", {"query": "q"})
    assert result["tool_use_id"] == tool_use["id"]
    assert text["citations"][0]["cited_text"] == "a"


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (b'{"properties": {}, "type": "object"}', b'{"properties": {}, "type": "object"}'),
        (b'{"type":["object","null"]}', b'{"type":["object","null"]}'),
        (b'{"properties":{}}', b'{"type":"object","properties":{}}'),
        (b"{ }", b'{"type":"object"}'),
    ],
)
def test_a_schema_passes_byte_for_byte_but_for_a_missing_type(schema: bytes, sent: bytes) -> None:
    tools = b'[{"type":"function","function":{"name":"f","parameters":%s}}]' % schema
    request = CHAT.read_request(
        {
            "messages": msgspec.Raw(b'[{"role":"user","content":"q"}]'),
            "tools": msgspec.Raw(tools),
        }
    )
    report = Report(CHAT.paths, drops=False)
    fields = MESSAGES.write_request(request, "m", Profile(family="anthropic"), report)
    assert bytes(fields["tools"][0]["input_schema"]) == sent
