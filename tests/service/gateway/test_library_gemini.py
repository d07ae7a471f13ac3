"""Calls to Gemini: what LiteLLM gets to send, and what its answers become."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from libs.common.errors import AppError, UnsupportedField
from libs.common.schemas.usage import ClientFormat
from tests.service.gateway.gemini_wire import HI, NEW, NEW_PRO, OLD, OLD_PRO, answer
from tests.service.gateway.library_wire import LibraryWire, settings, wired

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire() -> AsyncIterator[LibraryWire]:
    async with wired(settings()) as library_wire:
        yield library_wire


@pytest.fixture(autouse=True)
def answered(wire: LibraryWire) -> None:
    wire.upstream.answers(json.dumps(answer({"text": "hello"})).encode())


def tool(schema: Any, **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema, **members}}


EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
CALLS: dict[str, Any] = {"role": "assistant", "content": None}


def call(call_id: str, arguments: str, name: str = "f") -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def result(call_id: str, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


THINKING = [
    (OLD, "chat", {"reasoning_effort": "high"}, {"thinkingBudget": 16384}, ""),
    (OLD, "chat", {"reasoning_effort": "minimal"}, {"thinkingBudget": 1024}, ""),
    (OLD, "chat", {"reasoning_effort": "none"}, {"thinkingBudget": 0}, ""),
    (
        OLD,
        "chat",
        {"reasoning_effort": "high", "max_tokens": 9000},
        {"thinkingBudget": 7976},
        "reasoning_effort",
    ),
    (OLD, "chat", {"reasoning_effort": "max"}, {"thinkingBudget": 24576}, "reasoning_effort"),
    (OLD_PRO, "chat", {"reasoning_effort": "max"}, {"thinkingBudget": 32768}, ""),
    (
        OLD,
        "messages",
        {"thinking": {"type": "enabled", "budget_tokens": 5000}, "max_tokens": 9000},
        {"thinkingBudget": 5000},
        "",
    ),
    (OLD, "messages", {"thinking": {"type": "adaptive"}, "max_tokens": 9000}, None, ""),
    (
        OLD_PRO,
        "messages",
        {"thinking": {"type": "disabled"}, "max_tokens": 9000},
        {"thinkingBudget": 128},
        "thinking",
    ),
    (NEW, "chat", {"reasoning_effort": "xhigh"}, {"thinkingLevel": "high"}, "reasoning_effort"),
    (NEW, "chat", {"reasoning_effort": "none"}, {"thinkingLevel": "minimal"}, "reasoning_effort"),
    (
        NEW_PRO,
        "chat",
        {"reasoning_effort": "minimal"},
        {"thinkingLevel": "low"},
        "reasoning_effort",
    ),
    (
        NEW_PRO,
        "messages",
        {"thinking": {"type": "enabled", "budget_tokens": 5000}, "max_tokens": 9000},
        {"thinkingLevel": "medium"},
        "",
    ),
    (NEW, "messages", {"thinking": {"type": "adaptive"}, "max_tokens": 9000}, None, ""),
]


@pytest.mark.parametrize(("name", "client", "fields", "sent", "adapted"), THINKING)
async def test_how_much_the_model_shall_think(
    wire: LibraryWire,
    name: str,
    client: ClientFormat,
    fields: dict[str, Any],
    sent: dict[str, Any] | None,
    adapted: str,
) -> None:
    response = await wire.ask(client, name, {"messages": HI, **fields})

    config = wire.sent.get("generationConfig", {}).get("thinkingConfig")
    if config is not None:
        assert config.pop("includeThoughts") is (sent != {"thinkingBudget": 0})
    assert config == sent
    assert response.headers.get("x-gateway-adapted-params", "") == adapted


async def test_no_thinking_is_refused_where_it_cannot_be(wire: LibraryWire) -> None:
    for name in (OLD_PRO, NEW_PRO):
        with pytest.raises(UnsupportedField) as refused:
            await wire.ask("chat", name, {"messages": HI, "reasoning_effort": "none"})
        assert refused.value.param == "reasoning_effort"
    assert wire.upstream.requests == []


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
TOOLS = {"tools": [tool(EMPTY)]}
SHAPE = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
    }
}
REFUSED = [
    (OLD, {"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
    (NEW, {"messages": HI, **TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
    (OLD, {"messages": HI, **TOOLS, **SHAPE}, "response_format"),
    (NEW, {"messages": HI, "tools": [tool(EMPTY, strict=True)]}, "tools[0].function.strict"),
    (NEW, {"messages": HI, "n": 2, "stream": True}, "n"),
    (NEW, {"messages": HI, "logit_bias": {"1": 2}}, "logit_bias"),
    (NEW, {"messages": HI, "cachedContent": "x"}, "cachedContent"),
    (NEW, {"messages": HI, "service_tier": "flex"}, "service_tier"),
    (NEW, {"messages": [{"role": "system", "content": "alone"}]}, "messages"),
    (
        NEW,
        {"messages": [*HI, {**CALLS, "tool_calls": [call("c1", "{}")]}, result("c2", "x")]},
        "messages[2]",
    ),
]


@pytest.mark.parametrize(("name", "body", "path"), REFUSED)
async def test_fields_that_would_be_lost_are_refused_by_their_paths(
    wire: LibraryWire, name: str, body: dict[str, Any], path: str
) -> None:
    with pytest.raises(AppError) as refused:
        await wire.ask("chat", name, body)

    assert (refused.value.status, refused.value.param) == (400, path)
    assert wire.upstream.requests == []


DROPPED = [(name, body, path) for name, body, path in REFUSED[1:8] if path != "cachedContent"]


@pytest.mark.parametrize(("name", "body", "path"), DROPPED)
async def test_a_route_may_do_without(
    wire: LibraryWire, name: str, body: dict[str, Any], path: str
) -> None:
    response = await wire.ask("chat", name, body, drops=True)

    assert response.headers["x-gateway-dropped-params"] == path
    assert len(wire.upstream.requests) == 1


SCHEMAS = [
    ({"const": "x"}, {"type": "string", "enum": ["x"]}),
    ({"const": 5}, {"type": "integer", "description": "Always 5."}),
    ({"enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
    (
        {"enum": ["a", None]},
        {"type": "string", "enum": ["a"], "nullable": True},
    ),
    (
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
    ),
    (
        {"allOf": [{"properties": {"z": {"type": "string"}}}, {"required": ["z"]}]},
        {"type": "object", "properties": {"z": {"type": "string"}}, "required": ["z"]},
    ),
    (
        {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 9},
        {"type": "integer", "minimum": 2, "maximum": 8},
    ),
    (
        {"type": "string", "description": "Mail.", "format": "email"},
        {"type": "string", "description": 'Mail. format: "email".'},
    ),
    (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "description": 'Members of any name, each of: {"type":"string"}.'},
    ),
    (
        {},
        {
            "anyOf": [
                {"type": "string"},
                {"type": "number"},
                {"type": "boolean"},
                {"type": "object"},
                {"type": "array", "items": {"type": "string"}},
            ]
        },
    ),
]


@pytest.mark.parametrize(("schema", "sent"), SCHEMAS)
async def test_a_tools_schema_keeps_its_meaning(
    wire: LibraryWire, schema: dict[str, Any], sent: dict[str, Any]
) -> None:
    properties = {"a": schema, "b": {"type": "string"}}
    body = {"messages": HI, "tools": [tool({"type": "object", "properties": properties})]}

    response = await wire.ask("chat", OLD, body)

    (declared,) = wire.sent["tools"][0]["function_declarations"]
    assert declared["parameters"]["properties"] == {"a": sent, "b": {"type": "string"}}
    assert response.headers["x-gateway-adapted-params"] == "tools[0]"


async def test_a_schema_that_gemini_knows_goes_as_it_is(wire: LibraryWire) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "enum": ["x", "y"], "description": "A"},
            "b": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["a"],
        "additionalProperties": False,
    }

    response = await wire.ask("chat", OLD, {"messages": HI, "tools": [tool(schema)]})

    del schema["additionalProperties"]
    assert wire.sent["tools"][0]["function_declarations"][0]["parameters"] == schema
    assert "x-gateway-adapted-params" not in response.headers


async def test_a_schema_without_end_is_refused(wire: LibraryWire) -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        schema = {"type": "object", "properties": {"a": schema}}

    with pytest.raises(UnsupportedField) as refused:
        await wire.ask("chat", OLD, {"messages": HI, "tools": [tool(schema)]})

    assert refused.value.param == "tools[0]"


async def test_the_form_of_an_answer(wire: LibraryWire) -> None:
    """Of Gemini's later models beside tools, too; it is followed to the letter."""
    await wire.ask("chat", NEW, {"messages": HI, **SHAPE, **TOOLS})

    config = wire.sent["generationConfig"]
    assert config["response_json_schema"] == {"type": "object"}
    assert config["response_mime_type"] == "application/json"


async def test_results_without_ids_stand_as_their_calls_do(wire: LibraryWire) -> None:
    calls = [call("c1", '{"a":1}', "f"), call("c2", '{"b":2}', "g")]
    turns = [*HI, {**CALLS, "tool_calls": calls}, result("c2", "second"), result("c1", "first")]

    await wire.ask("chat", OLD, {"messages": turns, "tools": [tool(EMPTY)]})

    results = [part["function_response"] for part in wire.sent["contents"][2]["parts"]]
    assert [(each["name"], each["response"]) for each in results] == [
        ("f", {"content": "first"}),
        ("g", {"content": "second"}),
    ]


async def test_two_equal_calls_are_one_with_both_results(wire: LibraryWire) -> None:
    calls = [call("c1", '{"a":1}'), call("c2", '{"a":1}')]
    turns = [*HI, {**CALLS, "tool_calls": calls}, result("c1", "first"), result("c2", "second")]

    response = await wire.ask("chat", OLD, {"messages": turns, "tools": [tool(EMPTY)]})

    sent_calls, results = wire.sent["contents"][1]["parts"], wire.sent["contents"][2]["parts"]
    assert [part["function_call"]["args"] for part in sent_calls] == [{"a": 1}]
    assert [part["function_response"]["response"] for part in results] == [
        {"content": "first\n\nsecond"}
    ]
    assert response.headers["x-gateway-adapted-params"] == "messages[1].tool_calls[1]"


ARGUMENTS = [("", {}, False), ("null", {}, False), ('{"a":', {"input": '{"a":'}, True)]


@pytest.mark.parametrize(("arguments", "sent", "is_adapted"), ARGUMENTS)
async def test_arguments_that_are_not_an_object(
    wire: LibraryWire, arguments: str, sent: dict[str, Any], is_adapted: bool
) -> None:
    turns = [*HI, {**CALLS, "tool_calls": [call("c1", arguments)]}, result("c1", "x")]

    response = await wire.ask("chat", OLD, {"messages": turns, "tools": [tool(EMPTY)]})

    assert wire.sent["contents"][1]["parts"][0]["function_call"]["args"] == sent
    assert ("x-gateway-adapted-params" in response.headers) is is_adapted


async def test_labels_and_marks_are_left_out(wire: LibraryWire) -> None:
    """A mark would make LiteLLM list caches, and make one, at the client's cost."""
    text = "long " * 4000
    block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
    body = {
        "max_tokens": 100,
        "system": [block],
        "messages": [{"role": "user", "content": [block]}],
        "tools": [{"name": "f", "input_schema": EMPTY, "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "u"},
        "top_k": 4,
        "stop_sequences": ["1", "2", "3", "4", "5"],
    }

    await wire.ask("messages", OLD, body)

    sent = wire.sent
    assert set(sent) == {"contents", "system_instruction", "tools", "generationConfig"}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": text}]}]
    assert sent["system_instruction"] == {"parts": [{"text": text}]}
    assert sent["generationConfig"] == {
        "max_output_tokens": 100,
        "top_k": 4,
        "stop_sequences": ["1", "2", "3", "4", "5"],
    }


CHOICES = [
    ("auto", None),
    ("required", {"mode": "ANY"}),
    ("none", {"mode": "NONE"}),
    (
        {"type": "function", "function": {"name": "f"}},
        {"mode": "ANY", "allowed_function_names": ["f"]},
    ),
]


@pytest.mark.parametrize(("choice", "sent"), CHOICES)
async def test_the_choice_of_tools(wire: LibraryWire, choice: Any, sent: Any) -> None:
    await wire.ask("chat", NEW, {"messages": HI, **TOOLS, "tool_choice": choice})

    config = wire.sent.get("toolConfig")
    assert (config and config["functionCallingConfig"]) == sent


async def test_a_choice_among_some_tools_sends_only_those(wire: LibraryWire) -> None:
    names = ("f", "g", "h")
    allowed = [{"type": "function", "name": name} for name in names[1:]]
    body = {
        "input": "hi",
        "tools": [{"type": "function", "name": name, "parameters": EMPTY} for name in names],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": allowed},
    }

    response = await wire.ask("responses", NEW, body)

    declared = wire.sent["tools"][0]["function_declarations"]
    assert [function["name"] for function in declared] == ["g", "h"]
    assert wire.sent["toolConfig"]["functionCallingConfig"] == {"mode": "ANY"}
    assert response.headers["x-gateway-adapted-params"] == "tool_choice"


async def test_a_freeform_tool_is_a_function_there(wire: LibraryWire) -> None:
    body = {"input": "hi", "tools": [{"type": "custom", "name": "run", "description": "Runs."}]}
    call_part = {"functionCall": {"name": "run", "args": {"input": "ls -l"}}}
    wire.upstream.answers(json.dumps(answer(call_part)).encode())

    response = await wire.ask("responses", NEW, body)

    (declared,) = wire.sent["tools"][0]["function_declarations"]
    assert (declared["name"], declared["parameters"]["required"]) == ("run", ["input"])
    (item,) = response.body["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "run", "ls -l")


async def test_gemini_gets_its_signatures_back_and_ids_are_bare(wire: LibraryWire) -> None:
    part = {
        "functionCall": {"name": "f", "args": {"a": 1}, "id": "abc"},
        "thoughtSignature": "c2ln",
    }
    wire.upstream.answers(json.dumps(answer(part)).encode())
    tools = [{"name": "f", "input_schema": EMPTY}]
    body = {"messages": HI, "tools": tools, "max_tokens": 100}

    response = await wire.ask("messages", NEW, body)

    calls = [block for block in response.body["content"] if block["type"] == "tool_use"]
    assert "__thought__" not in json.dumps(response.body)
    wire.upstream.answers(json.dumps(answer({"text": "done"})).encode())
    result = {"type": "tool_result", "tool_use_id": calls[0]["id"], "content": "ok"}
    turns = [
        *HI,
        {"role": "assistant", "content": response.body["content"]},
        {"role": "user", "content": [result]},
    ]
    await wire.ask("messages", NEW, {**body, "messages": turns})
    (sent,) = wire.sent["contents"][1]["parts"]
    assert sent["thoughtSignature"] == "c2ln"
    assert sent["function_call"]["args"] == {"a": 1}
