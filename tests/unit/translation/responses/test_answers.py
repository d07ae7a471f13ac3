"""Whole answers and their streams, which say the same."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import CallMalformed, UpstreamFailed
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.parts import (
    Hosted,
    Part,
    Refusal,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.reply import Reply, ReportedError, Stop
from services.gateway.upstream.translation.responses import RESPONSES
from services.gateway.upstream.translation.responses.request_reader import read_request
from services.gateway.upstream.translation.thought_signatures import MARK, envelope
from tests.unit.translation.responses.bodies import fields_of
from tests.unit.translation.responses.streams import context, judge_response, streamed

SEARCH = Hosted(
    kind="web_search",
    raw=msgspec.Raw(
        b'{"type":"server_tool_use","id":"srv","name":"web_search","input":{"query":"q"}}'
    ),
    family="anthropic",
)
FOUND = Hosted(
    kind="web_search",
    raw=msgspec.Raw(b'{"type":"web_search_tool_result","tool_use_id":"srv","content":[]}'),
    family="anthropic",
)
CITED = Text(
    text="Oslo it is.",
    citations=msgspec.Raw(
        b'[{"type":"web_search_result_location","url":"https://x","title":"X","cited_text":"o"},'
        b'{"type":"char_location","document_index":0}]'
    ),
    family="anthropic",
)
USAGE = TokenUsage(
    input_text=10,
    cache_read=5,
    cache_write_5m=3,
    cache_write_1h=2,
    output_text=7,
    reasoning=4,
    service_tier="standard",
    web_searches=1,
)


END = Stop(kind="end")


def reply(*parts: Part, **fields: Any) -> Reply:
    return Reply(id="msg_1", model="upstream", parts=parts, **{"stop": END, **fields})


def whole_answer(answer: Reply, family: str = "anthropic", **fields: Any) -> dict[str, Any]:
    """The JSON form, which the stream's last event repeats."""
    answer_context = context(family, **fields)
    body: dict[str, Any] = json.loads(RESPONSES.write_answer(answer, answer_context))
    judge_response(body)
    events = streamed(answer, answer_context)
    assert events[-1]["type"] == f"response.{body['status']}"
    assert events[-1]["response"] == body
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert items == body["output"]
    return body


def output(*parts: Part, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = whole_answer(reply(*parts), **fields)["output"]
    return found


def test_texts_and_refusals_are_the_parts_of_one_message() -> None:
    items = output(Text(text="a"), Text(text="b"), Refusal(text="no"))
    assert [item["type"] for item in items] == ["message"]
    assert [
        (part["type"], part.get("text", part.get("refusal"))) for part in items[0]["content"]
    ] == [
        ("output_text", "a"),
        ("output_text", "b"),
        ("refusal", "no"),
    ]


def test_ids_are_made_of_the_providers() -> None:
    body = whole_answer(reply(Text(text="a"), ToolCall(id="c", name="f", arguments="{}")))
    assert body["id"].startswith("resp_")
    digest = body["id"].removeprefix("resp_")
    assert len(digest) == 48
    assert [item["id"] for item in body["output"]] == [f"msg_{digest}_0", f"fc_{digest}_1"]
    again = whole_answer(reply(Text(text="a"), ToolCall(id="c", name="f", arguments="{}")))
    assert again["output"] == body["output"]
    own = Reply(id="resp_abc", model="m", parts=(), stop=Stop(kind="end"))
    assert whole_answer(own)["id"] == "resp_abc"


def test_the_answer_names_the_model_that_was_asked_for() -> None:
    body = whole_answer(reply(Text(text="a")))
    assert (body["model"], body["created_at"]) == ("asked", 1_700_000_000)
    assert whole_answer(reply(Text(text="a"), created=5))["created_at"] == 5


def test_an_answer_repeats_the_request_settings() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": None}]
    body = whole_answer(
        reply(Text(text="a")),
        tools=tools,
        instructions="be\nbrief",
        store=False,
        temperature=0.5,
        text={"format": {"type": "text"}, "verbosity": "low"},
        metadata=None,
    )
    assert (body["tools"], body["instructions"], body["store"]) == (tools, "be\nbrief", False)
    assert (body["temperature"], body["metadata"], body["tool_choice"]) == (0.5, {}, "auto")
    assert "store" not in whole_answer(reply(Text(text="a")))


def test_options_of_a_cache_are_not_told_as_applied() -> None:
    """A response has a mode and a time that a request may omit; `whole_answer` judges it."""
    body = whole_answer(reply(Text(text="a")), prompt_cache_options={"prewarm": True})
    assert "prompt_cache_options" not in body


def test_a_body_of_many_lines_is_echoed_on_one_line() -> None:
    answer_context = msgspec.structs.replace(
        context(), fields={"tools": msgspec.Raw(b'[\n {"type":"web_search",\r\n "x":1.50}\n]')}
    )
    events = streamed(reply(Text(text="a")), answer_context)
    assert events[0]["response"]["tools"] == [{"type": "web_search", "x": 1.5}]


@pytest.mark.parametrize(
    ("call", "item"),
    [
        (
            ToolCall(id="c", name="f", arguments='{"a": 1}'),
            {"type": "function_call", "name": "f", "arguments": '{"a": 1}'},
        ),
        (
            ToolCall(id="c", name="f", arguments=""),
            {"type": "function_call", "name": "f", "arguments": "{}"},
        ),
        (
            ToolCall(id="c", name="f", arguments='{"a": '),
            {"type": "function_call", "name": "f", "arguments": '{"a": '},
        ),
        (
            ToolCall(id="c", name="mcp__find", arguments="{}"),
            {"type": "function_call", "namespace": "mcp", "name": "find", "arguments": "{}"},
        ),
        (
            ToolCall(id="c", name="apply_patch", arguments='{"input": "*** \\u00e9"}'),
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** é"},
        ),
        (
            ToolCall(id="c", name="apply_patch", arguments='{"patch": 1}'),
            {"type": "custom_tool_call", "name": "apply_patch", "input": '{"patch": 1}'},
        ),
        (
            ToolCall(id="c", name="apply_patch", arguments="*** Begin", is_freeform=True),
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"},
        ),
        (
            ToolCall(id="c", name="apply_patch", arguments="", is_freeform=True),
            {"type": "custom_tool_call", "name": "apply_patch", "input": ""},
        ),
    ],
)
def test_calls_are_written_under_the_clients_names(call: ToolCall, item: dict[str, Any]) -> None:
    found = output(call)
    del found[0]["id"]
    assert found == [{"call_id": "c", "status": "completed", **item}]


def thoughts_in(items: list[dict[str, Any]]) -> tuple[Part, ...]:
    """What comes back of them in the next turn."""
    found = read_request(fields_of({"input": [*items, {"role": "user", "content": "x"}]}))
    return tuple(
        msgspec.structs.replace(part, at=())
        for part in found.turns[0].parts
        if isinstance(part, Thinking | ToolCall)
    )


@pytest.mark.parametrize(
    ("family", "part"),
    [
        ("anthropic", Thinking(text="hm", signature=ThoughtSignature("anthropic", "SIG"))),
        ("anthropic", Thinking(text="", signature=ThoughtSignature("anthropic", "SIG"))),
        ("anthropic", Thinking(signature=ThoughtSignature("anthropic", "DATA"), is_redacted=True)),
        ("google", Thinking(text="hm", signature=ThoughtSignature("google", "SIG"))),
        ("other", Thinking(text="hm", signature=ThoughtSignature("none", ""))),
        ("xai", Thinking(text="hm", signature=ThoughtSignature("xai", "ENC"))),
    ],
)
def test_thinking_of_others_comes_back_as_it_was(family: str, part: Thinking) -> None:
    items = output(part, Text(text="so"), family=family)
    assert items[0]["encrypted_content"].startswith(MARK)
    assert thoughts_in(items) == (part,)


def test_unsigned_thinking_is_written_as_reasoning_text() -> None:
    item = output(Thinking(text="hm"), family="other")[0]
    assert item["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert (item["summary"], item["encrypted_content"]) == (
        [],
        envelope(ThoughtSignature("none", "")),
    )


def test_thinking_of_openai_is_as_it_came() -> None:
    part = Thinking(summaries=("a", "b"), signature=ThoughtSignature("openai", "ENC"))
    item = output(part, family="openai")[0]
    assert item["encrypted_content"] == "ENC"
    assert [summary["text"] for summary in item["summary"]] == ["a", "b"]


def test_signed_calls_come_back_with_their_signatures() -> None:
    first = ToolCall(id="c1", name="f", arguments="{}", signature=ThoughtSignature("google", "SIG"))
    second = ToolCall(id="c2", name="f", arguments="{}")
    items = output(Text(text="a"), first, second, family="google")
    assert [item["type"] for item in items] == [
        "message",
        "function_call",
        "reasoning",
        "function_call",
    ]
    back = thoughts_in(items)
    assert [part.signature for part in back if isinstance(part, ToolCall)] == [
        ThoughtSignature("google", "SIG"),
        None,
    ]
    assert len(back) == 2


def test_searches_are_written_and_their_results_are_cited() -> None:
    items = output(SEARCH, FOUND, CITED)
    assert [item["type"] for item in items] == ["web_search_call", "message"]
    assert items[0]["action"] == {"type": "search", "query": "q", "queries": ["q"]}
    assert items[1]["content"][0]["annotations"] == [
        {
            "type": "url_citation",
            "start_index": 0,
            "end_index": 11,
            "url": "https://x",
            "title": "X",
        }
    ]


def test_citations_of_chat_are_laid_flat() -> None:
    flat = {"url": "u", "title": "t", "start_index": 1, "end_index": 2}
    nested = json.dumps([{"type": "url_citation", "url_citation": flat}]).encode()
    text = Text(text="abc", citations=msgspec.Raw(nested), family="openai")
    items = output(text, family="openai")
    assert items[0]["content"][0]["annotations"] == [{"type": "url_citation", **flat}]


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        (Stop(kind="end"), "completed", None),
        (Stop(kind="tool"), "completed", None),
        (Stop(kind="sequence", sequence="x"), "completed", None),
        (Stop(kind="declined"), "completed", None),
        (Stop(kind="limit"), "incomplete", "max_output_tokens"),
        (Stop(kind="window"), "incomplete", "max_output_tokens"),
        (Stop(kind="pause", reason="pause_turn"), "incomplete", "max_output_tokens"),
        (Stop(kind="pause", reason="steered"), "incomplete", "steered"),
        (Stop(kind="blocked"), "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(stop: Stop, status: str, reason: str | None) -> None:
    body = whole_answer(reply(Text(text="a"), stop=stop))
    assert body["status"] == body["output"][-1]["status"] == status
    assert body["incomplete_details"] == (None if reason is None else {"reason": reason})


def test_an_explanation_is_a_refusal() -> None:
    stop = Stop(kind="blocked", explanation="because")
    assert whole_answer(reply(stop=stop))["output"][0]["content"] == [
        {"type": "refusal", "refusal": "because"}
    ]
    assert len(whole_answer(reply(Text(text="a"), stop=stop))["output"][0]["content"]) == 2


def test_a_malformed_call_is_an_error() -> None:
    with pytest.raises(CallMalformed):
        RESPONSES.write_answer(reply(stop=Stop(kind="malformed")), context())
    events = streamed(reply(stop=Stop(kind="malformed")), context())
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert (
        events[-1]["response"]["error"]["code"] == events[-2]["code"] == "upstream_malformed_call"
    )


def test_usage_is_written_as_openai_counts() -> None:
    body = whole_answer(reply(Text(text="a"), usage=USAGE))
    assert body["usage"] == {
        "input_tokens": 20,
        "input_tokens_details": {
            "cached_tokens": 5,
            "cache_write_tokens": 5,
            "cache_write_1h_tokens": 2,
        },
        "output_tokens": 11,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 31,
    }
    assert body["service_tier"] == "default"
    assert body["tool_usage"]["web_search"] == {"num_requests": 1}
    openai_usage = TokenUsage(input_text=1, cache_write_30m=2, cache_write_12h=3, output_text=1)
    written_usage = whole_answer(reply(Text(text="a"), usage=openai_usage))["usage"]
    assert written_usage["input_tokens"] == 6
    assert written_usage["input_tokens_details"]["cache_write_tokens_details"] == {
        "ttl_30m_tokens": 2,
        "ttl_12h_tokens": 3,
    }
    assert whole_answer(reply(Text(text="a")))["usage"] is None


PARTS = st.lists(
    st.one_of(
        st.builds(Text, text=st.text(min_size=1)),
        st.builds(Refusal, text=st.text(min_size=1)),
        st.builds(
            Thinking,
            text=st.text(),
            signature=st.builds(ThoughtSignature, st.just("anthropic"), st.text(min_size=1)),
        ),
        st.builds(
            ToolCall,
            id=st.text("abc", min_size=1),
            name=st.sampled_from(["f", "mcp__find", "apply_patch"]),
            arguments=st.sampled_from(["", "{}", '{"input":"x"}', '{"a":"\\n"}']),
        ),
        st.just(SEARCH),
    ),
    max_size=6,
)


@given(PARTS, st.sampled_from(["end", "limit", "blocked"]))
def test_the_stream_says_what_the_whole_answer_says(parts: list[Part], kind: Any) -> None:
    distinct_parts = [
        msgspec.structs.replace(part, id=f"{part.id}{index}")
        if isinstance(part, ToolCall)
        else part
        for index, part in enumerate(parts)
    ]
    whole_answer(reply(*distinct_parts, stop=Stop(kind=kind), usage=USAGE))


# Answers of providers.


def answer(*items: dict[str, Any], **fields: Any) -> bytes:
    body = {"id": "resp_1", "model": "m", "status": "completed", "output": list(items), **fields}
    return json.dumps(body).encode()


ITEMS: list[dict[str, Any]] = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "s"}],
        "encrypted_content": "ENC",
    },
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search"},
    },
    {
        "type": "message",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "t",
                "annotations": [{"type": "url_citation", "url": "u"}],
                "logprobs": [{"token": "t", "logprob": -1, "bytes": [1], "top_logprobs": []}],
            },
        ],
    },
    {
        "type": "function_call",
        "call_id": "c1",
        "name": "f",
        "arguments": "{}",
        "id": "fc_1",
    },
    {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "raw"},
    {
        "type": "function_call",
        "call_id": "c3",
        "namespace": "n",
        "name": "h",
        "arguments": "",
    },
]


def test_an_answer_is_read() -> None:
    found = RESPONSES.read_answer(
        answer(
            *ITEMS,
            created_at=5,
            service_tier="flex",
            usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        ),
        "openai",
    )
    assert isinstance(found, Reply)
    assert [type(part).__name__ for part in found.parts] == [
        "Thinking",
        "Hosted",
        "Text",
        "ToolCall",
        "ToolCall",
        "ToolCall",
    ]
    thinking, hosted, text, *calls = found.parts
    assert thinking == Thinking(
        summaries=("s",), signature=ThoughtSignature("openai", "ENC"), item_id="rs_1"
    )
    assert isinstance(hosted, Hosted)
    assert (hosted.kind, hosted.id) == ("web_search", "ws_1")
    assert json.loads(bytes(hosted.raw))["action"] == {"type": "search"}
    assert isinstance(text, Text)
    assert (text.text, text.family) == ("t", "openai")
    assert calls == [
        ToolCall(id="c1", name="f", arguments="{}", item_id="fc_1"),
        ToolCall(id="c2", name="g", arguments="raw", is_freeform=True),
        ToolCall(id="c3", name="n__h", arguments=""),
    ]
    assert (found.stop.kind, found.created, found.tier) == ("tool", 5, "flex")
    assert found.usage is not None
    assert (found.usage.input_text, found.usage.output_text) == (3, 2)
    assert found.usage.web_searches == 1
    assert json.loads(bytes(found.logprobs or b""))[0]["token"] == "t"


@pytest.mark.parametrize(
    ("fields", "content", "kind"),
    [
        ({}, {"type": "output_text", "text": "x"}, "end"),
        ({}, {"type": "refusal", "refusal": "x"}, "declined"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            {"type": "output_text", "text": "x"},
            "limit",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            {"type": "output_text", "text": "x"},
            "blocked",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "steered"}},
            {"type": "output_text", "text": "x"},
            "pause",
        ),
        ({"status": "incomplete"}, {"type": "output_text", "text": "x"}, "limit"),
    ],
)
def test_how_a_providers_answer_ended(
    fields: dict[str, Any], content: dict[str, Any], kind: str
) -> None:
    found = RESPONSES.read_answer(answer({"type": "message", "content": [content]}, **fields), "x")
    assert isinstance(found, Reply)
    assert found.stop.kind == kind


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        (
            {"status": "failed", "error": {"code": "server_error", "message": "boom"}},
            ReportedError(message="boom", code="server_error"),
        ),
        (
            {"status": "cancelled"},
            ReportedError(message="The provider's answer ended as 'cancelled'."),
        ),
        (
            {"status": None, "error": {"type": "t", "message": "m", "code": 503, "param": "p"}},
            ReportedError(message="m", kind="t", code="503", param="p"),
        ),
        ({"status": None, "error": "slow down"}, ReportedError(message="slow down")),
    ],
)
def test_an_answer_that_holds_an_error(fields: dict[str, Any], right: ReportedError) -> None:
    assert RESPONSES.read_answer(answer(**fields), "openai") == right


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress"])
def test_an_answer_that_broke_off_is_an_error(status: str) -> None:
    half = {"type": "message", "content": [{"type": "output_text", "text": "half"}]}
    found = RESPONSES.read_answer(answer(half, status=status), "openai")
    assert found == ReportedError(message=f"The provider's answer ended as '{status}'.")


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"output":[{"type":1}]}', b"[]", b"\xff"])
def test_an_answer_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        RESPONSES.read_answer(body, "openai")


def test_contradictory_usage_is_not_a_failure() -> None:
    found = RESPONSES.read_answer(answer(usage={"input_tokens": "many"}), "openai")
    assert isinstance(found, Reply)


@given(PARTS)
def test_texts_and_calls_of_a_written_answer_are_read(parts: list[Part]) -> None:
    plain = [part for part in parts if not isinstance(part, Hosted | Thinking)]
    body = RESPONSES.write_answer(reply(*plain), context())
    found = RESPONSES.read_answer(body, "openai")
    assert isinstance(found, Reply)
    texts = [part.text for part in plain if isinstance(part, Text | Refusal)]
    assert [part.text for part in found.parts if isinstance(part, Text | Refusal)] == texts
    calls = [part for part in found.parts if isinstance(part, ToolCall)]
    assert [call.id for call in calls] == [part.id for part in plain if isinstance(part, ToolCall)]


@pytest.mark.parametrize(
    ("status", "body", "right"),
    [
        (
            400,
            b'{"error":{"message":"m","type":"invalid_request_error","param":"input","code":"c"}}',
            ReportedError(
                message="m", status=400, kind="invalid_request_error", param="input", code="c"
            ),
        ),
        (429, b'{"error":"slow down"}', ReportedError(message="slow down", status=429)),
        (404, b'{"detail":"Not Found"}', ReportedError(message="Not Found", status=404)),
        (500, b'{"message":"m","code":5}', ReportedError(message="m", status=500, code="5")),
        (502, b"<html>bad</html>", ReportedError(message="<html>bad</html>", status=502)),
        (
            503,
            b"",
            ReportedError(
                message="The provider answered with status 503 and gave no reason.", status=503
            ),
        ),
        (500, b"[]", ReportedError(message="[]", status=500)),
        (500, b"x" * 9000, ReportedError(message="x" * 500, status=500)),
    ],
)
def test_errors_are_read(status: int, body: bytes, right: ReportedError) -> None:
    assert RESPONSES.read_error(status, body) == right
