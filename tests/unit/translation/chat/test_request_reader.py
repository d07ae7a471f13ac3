"""What a chat client's request is read into, and what is refused by its path."""

from typing import Any

import pytest

from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.chat.paths import PATHS
from services.gateway.upstream.translation.conversation import Labels, OutputLimits
from services.gateway.upstream.translation.parts import (
    Audio,
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Image,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.thought_signatures import envelope
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    ToolChoice,
)
from tests.unit.translation.chat.bodies import read

FUNCTION = {"type": "function", "function": {"name": "f"}}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def called(*calls: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls), **members}


def call(call_id: str = "c1", **members: Any) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        **members,
    }


def result(call_id: str, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, Text(text="a", at=(0, 0))),
        (
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"ttl": "12h"}},
            Text(text="a", cache=CacheMark(43200), at=(0, 0)),
        ),
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            Text(text="a", cache=CacheMark(), at=(0, 0)),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
            Image(source=Url("https://x/a.png"), detail="low", at=(0, 0)),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA="}},
            Image(source=Bytes("image/png", "AAA="), at=(0, 0)),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAA=", "format": "wav"}},
            Audio(data="AAA=", format="wav", at=(0, 0)),
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAA="},
            },
            DocumentPart(source=Bytes("application/pdf", "AAA="), filename="a.pdf", at=(0, 0)),
        ),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            DocumentPart(source=FileId("file-1", "openai"), at=(0, 0)),
        ),
    ],
)
def test_parts_of_a_user(part: dict[str, Any], expected: Part) -> None:
    assert read(messages=[user(part)]).turns[0].parts == (expected,)


def test_results_that_follow_each_other_are_one_turn() -> None:
    messages = [
        {"role": "user", "content": "go"},
        called(call("c1"), call("c2")),
        result("c1"),
        result("c2", [{"type": "text", "text": "two"}]),
        {"role": "user", "content": "on"},
        called(call("c3")),
        result("c3", ""),
    ]
    turns = read(messages=messages).turns
    assert [(turn.role, turn.at) for turn in turns] == [
        ("user", (0,)),
        ("assistant", (1,)),
        ("user", (2,)),
        ("user", (4,)),
        ("assistant", (5,)),
        ("user", (6,)),
    ]
    assert turns[2].parts == (
        Result(call_id="c1", parts=(Text(text="ok", at=(2,)),), at=(2,)),
        Result(call_id="c2", parts=(Text(text="two", at=(3, 0)),), at=(3,)),
    )
    assert turns[5].parts == (Result(call_id="c3", parts=(), at=(6,)),)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_longer_conversation_begins_as_the_shorter_one(cut: int) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        called(call("c1"), call("c2"), reasoning_content="hm"),
        result("c1"),
        result("c2"),
        {"role": "user", "content": "on"},
    ]
    part, whole = read(messages=messages[:cut]).turns, read(messages=messages).turns
    # Of results that are still to come the last turn is the one that may grow.
    assert part[:-1] == whole[: len(part) - 1]
    assert part[-1].parts == whole[len(part) - 1].parts[: len(part[-1].parts)]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (called(call()), (ToolCall(id="c1", name="f", arguments="{}", at=(0, -1)),)),
        (
            called(call(type=None, extra_content={"google": {"thought_signature": "s"}})),
            (
                ToolCall(
                    id="c1",
                    name="f",
                    arguments="{}",
                    signature=ThoughtSignature("google", "s"),
                    at=(0, -1),
                ),
            ),
        ),
        (
            called(call("c1__thought__sig")),
            (
                ToolCall(
                    id="c1",
                    name="f",
                    arguments="{}",
                    signature=ThoughtSignature("google", "sig"),
                    at=(0, -1),
                ),
            ),
        ),
        (
            called({"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x y"}}),
            (ToolCall(id="c1", name="f", arguments="x y", is_freeform=True, at=(0, -1)),),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "hm", "refusal": "no"},
            (
                Thinking(text="hm", at=(0,)),
                Text(text="a", at=(0,)),
                Refusal(text="no", at=(0,)),
            ),
        ),
        (
            {
                "role": "assistant",
                "content": [{"type": "refusal", "refusal": "no"}],
                "reasoning": "hm",
            },
            (Thinking(text="hm", at=(0,)), Refusal(text="no", at=(0, 0))),
        ),
        (
            {
                "role": "assistant",
                "content": "a",
                "reasoning_content": "hm",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig", "index": 0},
                    {"type": "redacted_thinking", "data": "red"},
                    {
                        "type": "thinking",
                        "thinking": "sum",
                        "signature": envelope(ThoughtSignature("openai", "enc")),
                    },
                    {"type": "redacted_thinking", "data": "gws1."},
                ],
            },
            (
                Thinking(text="hm", signature=ThoughtSignature("anthropic", "sig"), at=(0,)),
                Thinking(signature=ThoughtSignature("anthropic", "red"), is_redacted=True, at=(0,)),
                Thinking(summaries=("sum",), signature=ThoughtSignature("openai", "enc"), at=(0,)),
                Text(text="a", at=(0,)),
            ),
        ),
    ],
)
def test_turns_of_the_assistant(message: dict[str, Any], expected: tuple[Part, ...]) -> None:
    assert read(messages=[message]).turns[0].parts == expected


def test_the_first_form_of_tools() -> None:
    request = read(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "1"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": None},
        ],
    )
    assert [turn.parts for turn in request.turns] == [
        (ToolCall(id="fc_0", name="f", arguments="", at=(0,)),),
        (Result(call_id="fc_0", name="f", parts=(Text(text="1", at=(1,)),), at=(1,)),),
        (ToolCall(id="fc_1", name="f", arguments="{}", at=(2,)),),
        (Result(call_id="fc_1", name="f", parts=(), at=(3,)),),
    ]
    assert request.choice == ToolChoice(mode="required", names=("f",))
    assert request.parallel is False
    assert request.has_legacy_functions


def test_a_custom_tools_result_is_known_by_its_call() -> None:
    custom = {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}}
    part = read(messages=[called(custom), result("c1")]).turns[1].parts[0]
    assert isinstance(part, Result)
    assert part.is_freeform


def test_tools() -> None:
    request = read(
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"b": 1, "a": 2},
                    "strict": True,
                    "input_examples": [],
                },
                "defer_loading": False,
                "colour": "red",
            },
            {
                "type": "custom",
                "custom": {
                    "name": "g",
                    "format": {
                        "type": "grammar",
                        "grammar": {"definition": "x", "syntax": "lark"},
                    },
                },
            },
            {"type": "web_fetch", "x": 1},
        ],
        web_search_options={
            "search_context_size": "low",
            "user_location": {"type": "approximate", "approximate": {"city": "Basel"}},
        },
    )
    function, custom, hosted, search = request.tools
    assert isinstance(function, Function)
    assert (function.name, function.description, function.strict) == ("f", "d", True)
    # Byte for byte: what a provider caches by must not change.
    assert bytes(function.schema or b"") == b'{"b": 1, "a": 2}'
    assert list(function.extra) == ["colour", "function.input_examples"]
    assert custom == Freeform(name="g", at=(1,), syntax="lark", grammar="x")
    assert isinstance(hosted, HostedTool)
    assert (hosted.kind, hosted.at) == ("web_fetch", (2,))
    assert isinstance(search, Search)
    assert search.context_size == "low"
    assert bytes(search.location or b"") == b'{"type":"approximate","city":"Basel"}'


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice()),
        ("required", ToolChoice(mode="required")),
        (
            {"type": "function", "function": {"name": "f"}},
            ToolChoice(mode="required", names=("f",)),
        ),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice(mode="required", names=("g",))),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
            ToolChoice(mode="auto", names=("f",)),
        ),
        ({"type": "mcp"}, ToolChoice(kind="mcp")),
    ],
)
def test_choices(choice: Any, expected: ToolChoice) -> None:
    assert read(tools=[FUNCTION], tool_choice=choice).choice == expected


def test_options() -> None:
    request = read(
        max_tokens=5,
        max_completion_tokens=7,
        stop="x",
        n=2,
        temperature=0,
        top_k=3,
        presence_penalty=0,
        frequency_penalty=0.5,
        logit_bias={},
        top_logprobs=0,
        reasoning_effort="xhigh",
        user="u",
        store=False,
        service_tier="flex",
        stream=True,
        stream_options={"include_usage": True},
        modalities=["text"],
        prompt_cache_options={"mode": "explicit"},
        prediction={"type": "content"},
        seed=None,
        invented=None,
    )
    assert request.limits == OutputLimits(output_tokens=7, stop=("x",), answers=2)
    assert request.sampling.temperature == 0
    assert (request.sampling.presence, request.sampling.frequency) == (None, 0.5)
    assert request.sampling.logit_bias is None
    assert request.sampling.top_logprobs is None
    assert request.thinking.effort == "xhigh"
    assert request.labels == Labels(user="u", keeps=False, tier="flex")
    assert (request.stream, request.wants_usage) == (True, True)
    assert list(request.extra) == ["prediction"]
    assert list(request.hints) == ["prompt_cache_options"]


def test_a_schema_may_be_missing() -> None:
    shape = read(response_format={"type": "json_schema", "json_schema": {"name": "n"}}).shape
    assert shape is not None
    assert (shape.kind, shape.name, shape.schema) == ("json_schema", "n", None)


def test_unknown_members_of_messages_are_named() -> None:
    """Options of a server's own; what its answers carry is not an option."""
    messages = [
        {"role": "user", "content": "a", "id": "1", "invented": None},
        {"role": "assistant", "content": "b", "prefix": True, "reasoning_details": [1]},
    ]
    assert list(read(messages=messages).extra) == ["messages[1].prefix"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "owner", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "system"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [user({"text": "x"})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "text", "text": 1})]}, "messages[0].content[0].text"),
        ({"messages": [user({"type": "image_url"})]}, "messages[0].content[0].image_url"),
        (
            {"messages": [user({"type": "image_url", "image_url": {"url": "data:,x"}})]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [user({"type": "file", "file": {}})]},
            "messages[0].content[0].file.file_data",
        ),
        (
            {
                "messages": [
                    user({"type": "input_audio", "input_audio": {"data": "", "format": "ogg"}})
                ]
            },
            "messages[0].content[0].input_audio.format",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [called({"id": "c"})]}, "messages[0].tool_calls[0].function"),
        ({"messages": [called(call(), call(""))]}, "messages[0].tool_calls[1].id"),
        (
            {"messages": [called({"id": "c", "function": {"name": "f", "arguments": {}}})]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools[0].function"),
        ({"tools": [FUNCTION, {"type": "custom"}]}, "tools[1].custom"),
        ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": {}}, "tools"),
        ({"tools": [FUNCTION], "functions": [{"name": "f"}]}, "functions"),
        ({"functions": [{"name": "f", "parameters": 1}]}, "functions[0].parameters"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": 1}}},
            "response_format.json_schema.schema",
        ),
        ({"stop": [None]}, "stop[0]"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": "0"}, "temperature"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"logit_bias": []}, "logit_bias"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"a": None}}, "metadata[...]"),
        ({"modalities": "text"}, "modalities"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ],
)
def test_a_clients_mistake_is_named_by_its_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    assert caught.value.param == path
    assert caught.value.message.startswith(f"{path}: ")
    assert "`$" not in caught.value.message


def test_a_limit_is_named_as_its_client_does() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert PATHS.of_body({name: 1}).field("limits.output_tokens") == name


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "video_url", "video_url": {"url": "x"}}, "messages[0].content[0].video_url"),
        ({"type": "ping"}, "messages[0].content[0]"),
        ({"type": "text", "text": "a", "colour": 1}, "messages[0].content[0].colour"),
    ],
)
def test_unknown_parts_are_refused(part: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedField) as caught:
        read(messages=[user(part)])
    assert caught.value.param == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [FUNCTION]),
        ("functions", [{"name": "f"}]),
        ("tool_choice", "auto"),
        ("function_call", "auto"),
        ("web_search_options", {}),
        ("max_tokens", 7),
        ("max_completion_tokens", 7),
        ("stop", "x"),
        ("n", 2),
        ("temperature", 0.5),
        ("top_p", 0.5),
        ("top_k", 5),
        ("seed", 5),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"1": 1}),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("metadata", {"a": "b"}),
        ("user", "u"),
        ("safety_identifier", "u"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_retention", "24h"),
        ("store", True),
        ("service_tier", "flex"),
        ("parallel_tool_calls", False),
        ("reasoning_effort", "low"),
        ("response_format", {"type": "json_object"}),
        ("verbosity", "low"),
        ("stream_options", {"include_usage": True}),
        ("prompt_cache_options", {}),
    ],
)
def test_a_field_is_read_where_it_is_the_only_one(field: str, value: Any) -> None:
    alone, none = read(**{field: value}), read()
    assert alone.extra == {}
    assert alone != none
