"""What a request's body tells of classes that may cost more than text."""

import json
from typing import Any

import pytest

from libs.common.domain.holds import PLAIN_TEXT, BillableFeatures
from services.gateway.formats import CHAT, EMBEDDINGS, MESSAGES, RESPONSES
from services.gateway.formats.base import Format

_AUTO = {"type": "container_auto"}


def _interpreter(container: Any) -> dict[str, Any]:
    return {"type": "code_interpreter", "container": container}


def _shell(environment: Any) -> dict[str, Any]:
    return {"type": "shell", "environment": environment}


def features(client_format: Format, **fields: Any) -> BillableFeatures:
    return client_format.decode(json.dumps({"model": "m", **fields}).encode()).features


def test_a_plain_call_has_plain_reach() -> None:
    turns = [{"role": "user", "content": "What is an audio input? \u00e9 <b> \x1f"}]
    assert features(CHAT, messages=turns, tools=[{"type": "function"}]) is PLAIN_TEXT
    assert features(MESSAGES, messages=turns, max_tokens=5) is PLAIN_TEXT
    assert features(RESPONSES, input="Hi", tools=[{"type": "mcp"}, {}]) is PLAIN_TEXT
    assert features(EMBEDDINGS, input="Hi") is PLAIN_TEXT


@pytest.mark.parametrize(
    ("control", "hour_long"),
    [
        ({"type": "ephemeral"}, False),
        ({"type": "ephemeral", "ttl": "5m"}, False),
        ({"type": "ephemeral", "ttl": "1h"}, True),
    ],
)
def test_cache_control_reaches_cache_writes(control: dict[str, str], hour_long: bool) -> None:
    block = {"type": "text", "text": "Hi", "cache_control": control}
    for fields in (
        {"system": [block]},
        {"cache_control": control},
        {"tools": [{"name": "t", "cache_control": control}]},
    ):
        found = features(MESSAGES, max_tokens=5, messages=[], **fields)
        assert found == BillableFeatures(cache_writes=True, long_writes=hour_long)


def test_audio_is_reached() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    turns = [{"role": "user", "content": [part]}]
    assert features(CHAT, messages=turns) == BillableFeatures(audio_input=True)
    assert features(CHAT, messages=[], modalities=["text"]) is PLAIN_TEXT
    assert features(CHAT, messages=[], modalities=["text", "audio"]) == BillableFeatures(
        audio_output=True
    )
    assert features(CHAT, messages=[], audio={"voice": "ash"}) == BillableFeatures(
        audio_output=True
    )


@pytest.mark.parametrize(
    ("fields", "fast"),
    [
        ({}, False),
        ({"speed": None}, False),
        ({"speed": "standard"}, False),
        ({"speed": "fast"}, True),
        # Whatever it is, it is not the standard one.
        ({"speed": "faster"}, True),
        ({"speed": 2}, True),
        ({"metadata": {"speed": "fast"}}, False),
    ],
)
def test_fast_mode_is_reached(fields: dict[str, Any], fast: bool) -> None:
    assert features(MESSAGES, max_tokens=5, messages=[], **fields) == BillableFeatures(fast=fast)


@pytest.mark.parametrize("raw", [rb'"s\u0070eed": "fast"', rb'"speed": "f\u0061st"'])
def test_an_escaped_speed_is_recognized(raw: bytes) -> None:
    assert MESSAGES.decode(rb'{"model": "m", "max_tokens": 5, %b}' % raw).features.fast


@pytest.mark.parametrize(
    ("client_format", "fields", "searches"),
    [
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 10),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "max_uses": 3}]}, 3),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "max_uses": 0}]}, 0),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "max_uses": -1}]}, 0),
        (MESSAGES, {"tools": [{"type": "web_search_20260209", "max_uses": 25}] * 2}, 50),
        # A tool of the client's may say that it has no type.
        (
            MESSAGES,
            {"tools": [{"type": "web_search_20260209", "max_uses": 25}, {"type": None}]},
            25,
        ),
        # A function that the client calls itself.
        (MESSAGES, {"tools": [{"name": "web_search", "input_schema": {}}]}, 0),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "web_search"}}]}, 0),
        (CHAT, {"web_search_options": {}}, 10),
        (CHAT, {"web_search_options": None}, 0),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, 10),
        (RESPONSES, {"tools": [{"type": "web_search_2025_08_26"}], "max_tool_calls": 4}, 4),
        (RESPONSES, {"tools": [{"type": "web_search"}], "max_tool_calls": None}, 10),
        (RESPONSES, {"tools": [{"type": "web_search"}], "max_tool_calls": -1}, 0),
        # Only this format's providers know that limit.
        (MESSAGES, {"tools": [{"type": "web_search_20260209"}], "max_tool_calls": 4}, 10),
        # Nobody can tell what it allows; the provider refuses it.
        (RESPONSES, {"tools": {"type": "web_search"}}, 10),
        (RESPONSES, {"tools": None}, 0),
    ],
)
def test_search_tools_are_reached(
    client_format: Format, fields: dict[str, Any], searches: int
) -> None:
    assert features(client_format, **fields).tools.get("web_search", 0) == searches


@pytest.mark.parametrize(
    "key", [rb"cache\u005fcontrol", rb"cache\u005Fcontrol", rb"\u0063ache_control"]
)
def test_an_escaped_name_reaches_everything(key: bytes) -> None:
    raw = rb'{"model": "m", "max_tokens": 5, "messages": [], "system": [{"%b": {}}]}' % key
    found = MESSAGES.decode(raw).features
    assert found == BillableFeatures(cache_writes=True, long_writes=True, audio_input=True)


def test_an_escaped_tool_is_recognized() -> None:
    raw = rb'{"model": "m", "tools": [{"type": "\u0077eb_search"}], "modalities": ["\u0061udio"]}'
    found = RESPONSES.decode(raw).features
    assert (found.tools, found.audio_output) == ({"web_search": 10}, True)


def test_an_escaped_hour_is_recognized() -> None:
    raw = rb'{"model": "m", "messages": [{"cache_control": {"ttl": "\u0031h"}}]}'
    assert MESSAGES.decode(raw).features.long_writes


@pytest.mark.parametrize(
    ("client_format", "tools", "uses"),
    [
        (RESPONSES, [{"type": "web_search_preview_2025_03_11"}], {"web_search_preview": 10}),
        (RESPONSES, [{"type": "file_search", "vector_store_ids": []}], {"file_search": 10}),
        (RESPONSES, [_interpreter({"type": "auto"})], {"container_1g": 1}),
        (RESPONSES, [_interpreter({"type": "auto", "memory_limit": "16g"})], {"container_16g": 1}),
        # A container of another call, whose size the request does not tell.
        (RESPONSES, [_interpreter("cntr_1")], {"container": 1}),
        (RESPONSES, [_interpreter(7)], {"container": 1}),
        # As xAI's has none.
        (RESPONSES, [{"type": "code_interpreter"}], {"code_execution": 10}),
        (RESPONSES, [_shell({"type": "local"})], {}),
        (
            RESPONSES,
            [_shell({"type": "container_auto", "memory_limit": "4g"})],
            {"container_4g": 1},
        ),
        (
            RESPONSES,
            [_shell({"type": "container_reference", "container_id": "c"})],
            {"container": 1},
        ),
        (RESPONSES, [_shell(None)], {"container_1g": 1}),
        (RESPONSES, [{"type": "x_search"}, {"type": "image_generation"}], {"x_search": 10}),
        # What nobody knows yet needs a fee by its own name.
        (RESPONSES, [{"type": "teleport_20270101"}], {"teleport": 10}),
        (RESPONSES, [{"type": "x" * 1_000}], {"x" * 64: 10}),
        (RESPONSES, [{"type": 5}, {"type": None}, {"type": "namespace", "tools": []}], {}),
        (MESSAGES, [{"type": "code_execution_20260521"}], {"code_execution": 10}),
        (MESSAGES, [{"type": "web_fetch_20260318", "max_uses": 2}], {"web_fetch": 2}),
        (MESSAGES, [{"type": "bash_20250124"}, {"type": "advisor_20260301", "model": "m"}], {}),
        (CHAT, [{"type": "custom"}, {"type": "function"}], {}),
        (CHAT, [{"type": "browser_search"}], {"browser_search": 10}),
        (
            CHAT,
            [{"googleSearch": {}}, {"google_maps": {}}],
            {"web_search": 10, "maps_grounding": 10},
        ),
        (
            CHAT,
            [{"urlContext": {}, "codeExecution": {}}],
            {"url_context": 10, "code_execution": 10},
        ),
        (CHAT, [{"functionDeclarations": []}, {}], {}),
        (MESSAGES, [{"name": "mine", "input_schema": {}}], {}),
    ],
)
def test_tools_that_cost_by_use_are_reached(
    client_format: Format, tools: list[dict[str, Any]], uses: dict[str, int]
) -> None:
    limit = {"max_tokens": 5} if client_format is MESSAGES else {}
    assert features(client_format, tools=tools, **limit).tools == uses


def test_tools_that_items_of_a_conversation_add_are_reached() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [{"type": "file_search"}]}
    output = {"type": "tool_search_output", "tools": [{"type": "function"}, {"type": "x_search"}]}
    turns = [{"role": "user", "content": '"tools"'}, item, output]
    tools = [{"type": "file_search"}, {"type": "tool_search"}]
    assert features(RESPONSES, input=turns, tools=tools).tools == {
        "file_search": 20,
        "x_search": 10,
    }
    assert features(RESPONSES, input=[item]).tools == {"file_search": 10}
    assert features(RESPONSES, input=[output], tools=tools[1:]).tools == {"x_search": 10}
    assert features(RESPONSES, input=[{"role": "user", "content": '"tools"'}]) is PLAIN_TEXT
    assert features(RESPONSES, input=[5, {"tools": []}]) is PLAIN_TEXT


def test_a_disguised_member_of_an_item_is_recognized() -> None:
    raw = rb'{"model": "m", "input": [{"t\u006fols": [{"type": "file_search"}]}]}'
    assert RESPONSES.decode(raw).features.tools == {"file_search": 10}


def test_no_more_names_of_tools_are_kept_than_any_request_has() -> None:
    tools = [{"type": f"tool{number}"} for number in range(1_000)]
    assert len(features(RESPONSES, tools=tools).tools) == 64


@pytest.mark.parametrize(
    ("field", "searches"),
    [
        ({"enable_search": True}, 10),
        ({"enable_search": False}, 0),
        ({"plugins": [{"id": "web"}]}, 10),
        ({"plugins": []}, 0),
        ({"search_parameters": {"mode": "on"}}, 10),
    ],
)
def test_fields_that_ask_for_searches_are_reached(field: dict[str, Any], searches: int) -> None:
    assert features(CHAT, messages=[], **field).tools.get("web_search", 0) == searches


@pytest.mark.parametrize(("ttl", "long"), [("30m", False), ("12h", True)])
def test_a_cache_of_twelve_hours_is_reached(ttl: str, long: bool) -> None:
    found = features(RESPONSES, input="Hi", prompt_cache_options={"ttl": ttl})
    assert found.long_writes is long
