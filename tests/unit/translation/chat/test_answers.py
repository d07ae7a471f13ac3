"""Whole answers, of providers and for clients."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from libs.common.errors import AnswerBroken, CallMalformed, UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.conversation import Request
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
from services.gateway.upstream.translation.reply import AnswerContext, Reply, ReportedError, Stop
from services.gateway.upstream.translation.thought_signatures import envelope

NONE = msgspec.Raw(b"null")
LOGPROBS = [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]


def context(
    request: Request | None = None, names: ToolNames | None = None, family: str = "anthropic"
) -> AnswerContext:
    return AnswerContext(
        request=request or Request(turns=(), wants_usage=True),
        fields={},
        model="asked",
        created=1_700_000_000,
        family=family,
        names=names or ToolNames(),
    )


def write(reply: Reply, **members: Any) -> Any:
    """Judged by the SDK's own type, strictly."""
    body = CHAT.write_answer(reply, context(**members))
    answer = json.loads(body)
    ChatCompletion.model_validate_json(body, strict=True)
    return answer


def message_of(*parts: Part, stop: Stop | None = None, **members: Any) -> Any:
    reply = Reply(id="msg_1", model="m", parts=parts, stop=stop or Stop(kind="end"))
    return write(reply, **members)["choices"][0]["message"]


def read(*choices: Any, **members: Any) -> Reply:
    body = {"id": "chatcmpl-1", "model": "m", "created": 1, "choices": list(choices), **members}
    reply = CHAT.read_answer(json.dumps(body).encode(), "openai")
    assert isinstance(reply, Reply)
    return reply


def choice(message: Any, reason: str | None = "stop", **members: Any) -> dict[str, Any]:
    return {"index": 0, "message": message, "finish_reason": reason, **members}


def function(call_id: Any = "c1", arguments: Any = "{}", **members: Any) -> dict[str, Any]:
    return {"id": call_id, "function": {"name": "f", "arguments": arguments}, **members}


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "a"}, (Text(text="a"),)),
        ({"content": ""}, ()),
        ({"content": None, "refusal": "no"}, (Refusal(text="no"),)),
        ({"content": "a", "reasoning_content": "hm"}, (Thinking(text="hm"), Text(text="a"))),
        ({"content": "a", "reasoning": "hm"}, (Thinking(text="hm"), Text(text="a"))),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a"},
                ]
            },
            (Thinking(text="hm"), Text(text="a")),
        ),
        (
            {
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "r"},
                ],
            },
            (
                Thinking(text="hm", signature=ThoughtSignature("anthropic", "s")),
                Thinking(signature=ThoughtSignature("anthropic", "r"), is_redacted=True),
            ),
        ),
        ({"tool_calls": [function()]}, (ToolCall(id="c1", name="f", arguments="{}"),)),
        ({"tool_calls": [function(arguments="")]}, (ToolCall(id="c1", name="f", arguments="{}"),)),
        (
            {"tool_calls": [function(arguments=None)]},
            (ToolCall(id="c1", name="f", arguments="{}"),),
        ),
        (
            {"tool_calls": [function(arguments='{"a')]},
            (ToolCall(id="c1", name="f", arguments='{"a'),),
        ),
        (
            {"tool_calls": [function(arguments={"a": 1})]},
            (ToolCall(id="c1", name="f", arguments='{"a":1}'),),
        ),
        (
            {"tool_calls": [function("c1__thought__sig")]},
            (
                ToolCall(
                    id="c1", name="f", arguments="{}", signature=ThoughtSignature("google", "sig")
                ),
            ),
        ),
        (
            {
                "tool_calls": [
                    function(extra_content={"google": {"thought_signature": "sig"}}),
                ]
            },
            (
                ToolCall(
                    id="c1", name="f", arguments="{}", signature=ThoughtSignature("google", "sig")
                ),
            ),
        ),
        (
            {"tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
            (ToolCall(id="c1", name="f", arguments="x", is_freeform=True),),
        ),
    ],
)
def test_messages_of_providers(message: Any, parts: tuple[Part, ...]) -> None:
    assert read(choice(message)).parts == parts


def test_calls_without_ids_get_the_same_ones_each_time() -> None:
    calls = {"tool_calls": [function(None), function("")]}
    first, second = read(choice(calls)).parts
    assert (first, second) == read(choice(calls)).parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_the_first_form_of_calls() -> None:
    (call,) = read(choice({"function_call": {"name": "f", "arguments": ""}}, "function_call")).parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", "{}")


CALLED = {"tool_calls": [function()]}


@pytest.mark.parametrize(
    ("message", "reason", "kind"),
    [
        ({"content": "a"}, "stop", "end"),
        ({"content": "a"}, None, "end"),
        ({"content": "a"}, "tool_calls", "end"),
        ({"content": "a"}, "what_is_this", "end"),
        (CALLED, "stop", "tool"),
        (CALLED, "tool_calls", "tool"),
        (CALLED, "function_call", "tool"),
        (CALLED, "length", "limit"),
        ({"content": "a"}, "length", "limit"),
        ({"content": "a"}, "model_length", "window"),
        ({"refusal": "no"}, "stop", "declined"),
        ({"content": "a"}, "content_filter", "blocked"),
        ({"content": "a"}, "SAFETY", "blocked"),
        ({"content": "a"}, "MALFORMED_FUNCTION_CALL", "malformed"),
        ({"content": "a"}, "insufficient_system_resource", "pause"),
    ],
)
def test_how_answers_end(message: Any, reason: str | None, kind: str) -> None:
    assert read(choice(message, reason)).stop == Stop(kind=kind, reason=reason)  # type: ignore[arg-type]


def test_a_reported_stop_string_is_read() -> None:
    assert read(choice({"content": "a"}, stop_reason="END")).stop == Stop(
        kind="sequence", reason="stop", sequence="END"
    )
    # A token's number is not a string.
    assert read(choice({"content": "a"}, stop_reason=2)).stop.kind == "end"


def test_several_choices() -> None:
    reply = read(choice({"content": "a"}), choice({"content": "b"}, "length"))
    (other,) = reply.others
    assert other.parts == (Text(text="b"),)
    answer = write(reply)
    assert [each["index"] for each in answer["choices"]] == [0, 1]
    assert [each["message"]["content"] for each in answer["choices"]] == ["a", "b"]
    assert [each["finish_reason"] for each in answer["choices"]] == ["stop", "length"]


def test_usage_and_marks_of_the_answer() -> None:
    reply = read(
        choice({"content": "a"}, logprobs={"content": LOGPROBS}),
        usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
        service_tier="flex",
        system_fingerprint="fp",
    )
    assert reply.usage == TokenUsage(input_text=10, output_text=2, service_tier="flex")
    assert (reply.tier, reply.fingerprint, reply.created) == ("flex", "fp", 1)
    answer = write(reply)
    assert answer["choices"][0]["logprobs"] == {"content": LOGPROBS, "refusal": None}
    assert (answer["service_tier"], answer["system_fingerprint"]) == ("flex", "fp")
    assert answer["usage"]["total_tokens"] == 12


@pytest.mark.parametrize("usage", [None, {}, "none", {"prompt_tokens": "x"}])
def test_usage_that_cannot_be_read_spoils_nothing(usage: Any) -> None:
    reply = read(choice({"content": "a"}), usage=usage)
    assert "usage" not in write(reply)


def test_a_search_that_no_usage_counts() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://x", "title": "t"}}
    reply = read(
        choice({"content": "a", "annotations": [cited]}),
        usage={"prompt_tokens": 1, "completion_tokens": 1},
    )
    assert reply.usage is not None
    assert reply.usage.web_searches == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "boom", "code": 502}}, "boom"),
        ({"error": "boom", "choices": []}, "boom"),
        ({"choices": [choice({"content": "a"}, "error", error={"message": "boom"})]}, "boom"),
        (
            {"choices": [choice({"content": "a"}, "error")]},
            "The provider ended its answer with an error.",
        ),
    ],
)
def test_an_error_in_an_answer(body: Any, message: str) -> None:
    failure = CHAT.read_answer(json.dumps(body).encode(), "openai")
    assert isinstance(failure, ReportedError)
    assert failure.message == message


def test_a_malformed_answer_is_an_error() -> None:
    for body in (b"", b"<html>", b"[]", b'{"choices": 1}'):
        with pytest.raises(UpstreamFailed):
            CHAT.read_answer(body, "openai")
    with pytest.raises(AnswerBroken):
        CHAT.read_answer(b'{"choices": []}', "openai")


@pytest.mark.parametrize(
    ("parts", "members"),
    [
        ((), {"content": ""}),
        ((Text(text="a"), Text(text="b")), {"content": "ab"}),
        ((Refusal(text="no"),), {"content": None, "refusal": "no"}),
        ((Thinking(text="hm"),), {"content": None, "reasoning_content": "hm"}),
        (
            (
                Thinking(text="hm", signature=ThoughtSignature("anthropic", "s")),
                Thinking(signature=ThoughtSignature("anthropic", "r"), is_redacted=True),
                Thinking(text="", signature=ThoughtSignature("anthropic", "e")),
                Text(text="a"),
            ),
            {
                "content": "a",
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "r"},
                    {"type": "thinking", "thinking": "", "signature": "e"},
                ],
            },
        ),
        (
            (Thinking(summaries=("one", "two"), signature=ThoughtSignature("openai", "enc")),),
            {
                "content": None,
                "reasoning_content": "one\n\ntwo",
                "thinking_blocks": [
                    {
                        "type": "thinking",
                        "thinking": "one\n\ntwo",
                        "signature": envelope(ThoughtSignature("openai", "enc")),
                    }
                ],
            },
        ),
        (
            (
                ToolCall(id="c1", name="f", arguments=""),
                ToolCall(id="c2", name="g", arguments='{"a'),
            ),
            {
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "g", "arguments": '{"a'},
                    },
                ],
            },
        ),
        (
            (
                ToolCall(
                    id="c1", name="f", arguments="{}", signature=ThoughtSignature("google", "s")
                ),
            ),
            {
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "s"}},
                    }
                ],
            },
        ),
        ((Hosted(kind="web_search", raw=NONE, family="openai"), Text(text="a")), {"content": "a"}),
    ],
)
def test_messages_for_clients(parts: tuple[Part, ...], members: Any) -> None:
    assert message_of(*parts) == {"role": "assistant", "refusal": None} | members


@pytest.mark.parametrize(
    ("stop", "reason", "refusal"),
    [
        (Stop(kind="end"), "stop", None),
        (Stop(kind="tool"), "tool_calls", None),
        (Stop(kind="limit"), "length", None),
        (Stop(kind="window"), "length", None),
        (Stop(kind="pause"), "length", None),
        (Stop(kind="sequence", sequence="x"), "stop", None),
        (Stop(kind="declined"), "stop", None),
        (Stop(kind="blocked"), "content_filter", None),
        (Stop(kind="blocked", explanation="why"), "content_filter", "why"),
    ],
)
def test_finish_reasons(stop: Stop, reason: str, refusal: str | None) -> None:
    answer = write(Reply(id="1", model="m", parts=(Text(text="a"),), stop=stop))
    assert answer["choices"][0]["finish_reason"] == reason
    assert answer["choices"][0]["message"]["refusal"] == refusal


def test_a_malformed_call_is_an_error() -> None:
    reply = Reply(id="1", model="m", parts=(), stop=Stop(kind="malformed"))
    with pytest.raises(CallMalformed):
        CHAT.write_answer(reply, context())


def test_legacy_functions_are_answered_in_legacy_form() -> None:
    call = ToolCall(id="c1", name="f", arguments="{}")
    request = Request(turns=(), has_legacy_functions=True)
    reply = Reply(id="1", model="m", parts=(call, call), stop=Stop(kind="tool"))
    legacy_choice = write(reply, request=request)["choices"][0]
    assert legacy_choice["finish_reason"] == "function_call"
    assert legacy_choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert len(legacy_choice["message"]["tool_calls"]) == 1


def test_a_custom_tools_input_is_taken_out_of_the_function_that_it_was_offered_as() -> None:
    names = ToolNames({"sent_f": (None, "f", True)})
    call = ToolCall(id="c1", name="sent_f", arguments='{"input": "x y"}')
    assert message_of(call, names=names)["tool_calls"] == [
        {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x y"}}
    ]


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        ("chatcmpl-9", "chatcmpl-9"),
        ("msg_01", "chatcmpl-01"),
        ("resp_ab", "chatcmpl-ab"),
        ("gen-1", "chatcmpl-1"),
    ],
)
def test_ids(upstream: str, expected: str) -> None:
    reply = Reply(id=upstream, model="m", parts=(), stop=Stop(kind="end"), created=5)
    answer = write(reply)
    assert (answer["id"], answer["model"], answer["created"]) == (expected, "asked", 5)


def test_citations_are_annotations_of_the_whole_text() -> None:
    claude_citations = msgspec.Raw(
        json.dumps(
            [
                {"type": "web_search_result_location", "url": "https://x", "title": "t"},
                {"type": "page_location", "document_index": 0},
            ]
        ).encode()
    )
    openai_citations = msgspec.Raw(
        json.dumps(
            [{"type": "url_citation", "url": "https://y", "start_index": 1, "end_index": 2}]
        ).encode()
    )
    message = message_of(
        Text(text="abc"),
        Text(text="de", citations=claude_citations, family="anthropic"),
        Text(text="fgh", citations=openai_citations, family="openai"),
    )
    assert [each["url_citation"] for each in message["annotations"]] == [
        {"start_index": 3, "end_index": 5, "url": "https://x", "title": "t"},
        {"start_index": 6, "end_index": 7, "url": "https://y", "title": ""},
    ]


def test_usage_of_all_classes_is_read_as_it_was_written() -> None:
    usage = TokenUsage(
        input_text=10,
        cache_read=1,
        cache_write_5m=2,
        cache_write_1h=3,
        input_audio=4,
        input_image=5,
        output_text=6,
        reasoning=7,
        output_audio=8,
        output_image=9,
        web_searches=2,
        speed="fast",
        inference_geo="us",
    )
    reply = Reply(id="1", model="m", parts=(), stop=Stop(kind="end"), usage=usage)
    body = CHAT.write_answer(reply, context())
    back = CHAT.read_answer(body, "openai")
    assert isinstance(back, Reply)
    assert back.usage == usage
    openai_usage = TokenUsage(
        input_text=1,
        cache_read=0,
        cache_write_30m=2,
        cache_write_12h=3,
        input_audio=0,
        output_text=1,
        reasoning=0,
        output_audio=0,
    )
    back = CHAT.read_answer(
        CHAT.write_answer(msgspec.structs.replace(reply, usage=openai_usage), context()), "openai"
    )
    assert isinstance(back, Reply)
    assert back.usage == openai_usage


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            b'{"error":{"message":"m","type":"t","code":"c","param":"p"}}',
            ReportedError(status=400, message="m", kind="t", code="c", param="p"),
        ),
        (
            429,
            b'[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]',
            ReportedError(status=429, message="m", kind="RESOURCE_EXHAUSTED"),
        ),
        (400, b'{"error":"m"}', ReportedError(status=400, message="m")),
        (404, b'{"detail":"Not Found"}', ReportedError(status=404, message="Not Found")),
        (
            422,
            b'{"detail":[{"loc":["body"],"msg":"m"}]}',
            ReportedError(status=422, message='[{"loc":["body"],"msg":"m"}]'),
        ),
        (
            400,
            b'{"object":"error","message":"m","type":"BadRequestError","code":400}',
            ReportedError(status=400, message="m", kind="BadRequestError"),
        ),
        (503, b"busy", ReportedError(status=503, message="busy")),
        (502, b"<html>", ReportedError(status=502, message="The provider gave no reason.")),
        (500, b"", ReportedError(status=500, message="The provider gave no reason.")),
        (500, b"{}", ReportedError(status=500, message="The provider gave no reason.")),
        (500, b"\xff", ReportedError(status=500, message="\ufffd")),
    ],
)
def test_errors(status: int, body: bytes, expected: ReportedError) -> None:
    assert CHAT.read_error(status, body) == expected
