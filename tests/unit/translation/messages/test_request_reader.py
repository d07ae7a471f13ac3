"""How a client's body in Anthropic's format is understood, and what is wrong with one."""

from typing import Any

import msgspec
import pytest

from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.conversation import Wish
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.parts import (
    CacheMark,
    Opaque,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
)
from services.gateway.upstream.translation.thought_signatures import envelope
from services.gateway.upstream.translation.tools import (
    Function,
    HostedTool,
    Search,
    ToolChoice,
)
from tests.unit.translation.messages.requests import body, read

CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def body_of(*blocks: Any) -> dict[str, Any]:
    return body({"role": "user", "content": list(blocks)})


def answered(*blocks: Any) -> dict[str, Any]:
    return body({"role": "user", "content": "a"}, {"role": "assistant", "content": list(blocks)})


WRONG: tuple[tuple[dict[str, Any], str, str], ...] = (
    (body("hi"), "messages[0]", "expected an object, not a string"),
    (body({"role": "tool", "content": "a"}), "messages[0].role", "'tool' is not a known value"),
    (body({"role": "user"}), "messages[0].content", "this field is missing"),
    (body_of("hi"), "messages[0].content[0]", "expected an object, not a string"),
    (body_of({"text": "a"}), "messages[0].content[0].type", "this field is missing"),
    (body_of({"type": "text"}), "messages[0].content[0].text", "this field is missing"),
    (
        body_of({"type": "image", "source": {"type": "base64", "data": 1}}),
        "messages[0].content[0].source.data",
        "expected a string, not an integer",
    ),
    (
        body_of({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "2h"}}),
        "messages[0].content[0].cache_control.ttl",
        "'2h' is not a known value",
    ),
    (
        body_of({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
        "messages[0].content[0].content[0].text",
        "this field is missing",
    ),
    (
        body_of(CALL),
        "messages[0].content[0]",
        "role user may not have a block of type tool_use",
    ),
    (
        answered({"type": "tool_result", "tool_use_id": "t"}),
        "messages[1].content[0]",
        "role assistant may not have a block of type tool_result",
    ),
    (
        body({"role": "system", "content": [{"type": "image", "source": PNG}]}),
        "messages[0].content[0]",
        "role system may not have a block of type image",
    ),
    (answered(CALL | {"input": "x"}), "messages[1].content[0].input", "expected an object"),
    (body(system=[{"type": "image"}]), "system[0].type", "'image' is not a known value"),
    (body(max_tokens=-1), "max_tokens", "expected an integer >= 0"),
    (body(temperature="1"), "temperature", "expected a number or null, not a string"),
    (body(stop_sequences=[None]), "stop_sequences[0]", "expected a string, not null"),
    (body(thinking={"type": "enabled"}), "thinking.budget_tokens", "this field is missing"),
    (
        body(thinking={"type": "adaptive", "budget_tokens": 5}),
        "thinking.budget_tokens",
        "thinking of type adaptive has no budget",
    ),
    (
        body(thinking={"type": "disabled", "display": "omitted"}),
        "thinking.display",
        "thinking of type disabled cannot be displayed",
    ),
    (body(thinking={"type": "lots"}), "thinking.type", "'lots' is not a known value"),
    (body(output_config={"effort": "huge"}), "output_config.effort", "'huge' is not a"),
    (body(output_config="x"), "output_config", "expected an object or null, not a string"),
    (
        body(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.schema",
        "this field is missing",
    ),
    (
        body(output_format={"type": "json_schema", "schema": "x"}),
        "output_format.schema",
        "expected an object",
    ),
    (
        body(
            output_format={"type": "json_schema", "schema": {}},
            output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        ),
        "output_format",
        "differs from output_config.format",
    ),
    (body(tools={"name": "f"}), "tools", "expected a list, not an object"),
    (body(tools=["f"]), "tools[0]", "expected an object, not a string"),
    (body(tools=[{"name": "f"}]), "tools[0].input_schema", "this field is missing"),
    (
        body(tools=[{"name": "f", "input_schema": "x"}]),
        "tools[0].input_schema",
        "expected an object",
    ),
    (body(tools=[{"name": 1, "input_schema": {}}]), "tools[0].name", "expected a string"),
    (body(tool_choice="auto"), "tool_choice", "expected an object or null, not a string"),
    (body(tool_choice={"type": "tool"}), "tool_choice.name", "required for type tool"),
    (
        body(metadata={"user_id": 1}),
        "metadata.user_id",
        "expected a string or null, not an integer",
    ),
)


@pytest.mark.parametrize(("sent", "path", "why"), WRONG, ids=[path for _, path, _ in WRONG])
def test_a_clients_mistake_is_named_by_its_path(sent: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(sent)
    assert refused.value.param == path
    assert refused.value.message.startswith(f"{path}: ")
    assert why in refused.value.message


def test_a_body_without_messages() -> None:
    with pytest.raises(InvalidRequest, match=r"messages: this field is missing"):
        read({"model": "m", "max_tokens": 1})


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (body({"role": "user", "content": "a", "id": "x"}), "messages[0].id"),
        (body(thinking={"type": "adaptive", "mood": "calm"}), "thinking.mood"),
        (body(tool_choice={"type": "auto", "mood": "calm"}), "tool_choice.mood"),
    ],
)
def test_unknown_members_do_not_vanish(sent: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        read(sent)
    assert refused.value.param == path


def test_a_request_of_claude_code_is_read() -> None:
    user_id = '{"device_id":"d","account_uuid":"a","session_id":"s"}'
    request = read(
        body(
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [CALL]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no"}],
                        "cache_control": {"type": "ephemeral"},
                    }
                ],
            },
            {"role": "system", "content": "note"},
            system=[
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"},
                {"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ],
            thinking={"type": "adaptive", "display": "omitted"},
            output_config={"effort": "high"},
            metadata={"user_id": user_id},
            context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            stream=True,
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
        )
    )

    assert [turn.role for turn in request.turns] == [
        "system", "user", "assistant", "user", "system",
    ]  # fmt: skip
    assert request.turns[0].parts[1] == Text(text="s", cache=CacheMark(3600), at=(-2,))
    assert request.turns[2].parts == (ToolCall(id="t1", name="f", arguments='{"a":1}', at=(1, 0)),)
    assert request.turns[3].parts == (
        Result(
            call_id="t1",
            parts=(Text(text="no", at=(2, 0, 0)),),
            has_failed=True,
            cache=CacheMark(),
            at=(2, 0),
        ),
    )
    assert request.thinking == Wish(mode="auto", effort="high", is_shown=False)
    assert request.labels.user == user_id
    assert (request.choice, request.parallel) == (ToolChoice(mode="required"), False)
    assert request.stream is True
    assert (request.extra, set(request.hints)) == ({}, {"context_management"})


EXTRA: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"speed": "fast"}, True),
    ({"speed": "standard"}, False),
    ({"mcp_servers": [{"type": "url"}]}, True),
    ({"mcp_servers": []}, False),
    ({"container": "c"}, True),
    ({"container": None}, False),
    ({"thread": {"type": "create"}}, True),
    ({"diagnostics": {"previous_message_id": "m"}}, False),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, True),
    ({"context_management": {"edits": []}}, False),
    ({"brand_new": 1}, True),
)


@pytest.mark.parametrize(("fields", "is_asked"), EXTRA)
def test_other_families_refuse_what_was_asked_and_leave_hints_out(
    fields: dict[str, Any], is_asked: bool
) -> None:
    request = read(body(**fields))
    assert set(request.extra if is_asked else request.hints) == set(fields)
    assert len(request.extra) + len(request.hints) == 1


def test_members_of_known_objects() -> None:
    request = read(body(output_config={"task_budget": {}}, metadata={"team": "x"}))
    assert set(request.extra) == {"output_config.task_budget", "metadata.team"}


def test_tools() -> None:
    schema = {"type": "object"}
    request = read(
        body(
            tools=[
                {"name": "f", "input_schema": schema, "defer_loading": True, "mood": "calm"},
                {"type": "custom", "name": "g", "input_schema": schema, "defer_loading": False},
                {"type": "web_search_20250305", "name": "web_search", "blocked_domains": ["x"]},
                {"type": "memory_20250818", "name": "memory"},
            ]
        )
    )
    first, second, search, hosted = request.tools
    assert isinstance(first, Function)
    assert set(first.extra) == {"defer_loading", "mood"}
    assert isinstance(second, Function)
    assert set(second.hints) == {"defer_loading"}
    assert not second.extra
    assert search == Search(at=(2,), blocked=("x",), version="web_search_20250305")
    assert isinstance(hosted, HostedTool)
    assert (hosted.kind, hosted.at) == ("memory_20250818", (3,))


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ({"type": "image", "source": PNG, "transformations": {}}, "image.transformations"),
        ({"type": "container_upload", "file_id": "f"}, "container_upload"),
        ({"type": "text", "text": "a", "mood": "calm"}, "text.mood"),
        ({"type": "hologram"}, "hologram"),
    ],
)
def test_an_anthropic_only_block_is_read_as_opaque(block: dict[str, Any], kind: str) -> None:
    (part,) = read(body_of(block)).turns[0].parts
    assert isinstance(part, Opaque)
    assert (part.kind, part.family, part.at) == (kind, "anthropic", (0, 0))
    assert msgspec.json.decode(part.raw) == block


def test_signatures_of_other_families() -> None:
    blocks = [
        {"type": "thinking", "thinking": "own", "signature": "sig"},
        {
            "type": "thinking",
            "thinking": "told",
            "signature": envelope(ThoughtSignature("openai", "enc")),
        },
        {"type": "redacted_thinking", "data": envelope(ThoughtSignature("openai", "enc"))},
        {
            "type": "thinking",
            "thinking": "open",
            "signature": envelope(ThoughtSignature("none", "")),
        },
        {"type": "thinking", "thinking": "old", "signature": ""},
        {"type": "redacted_thinking", "data": envelope(ThoughtSignature("google", '{"t1":"g"}'))},
        CALL,
    ]
    parts = read(answered(*blocks)).turns[1].parts
    assert parts == (
        Thinking(text="own", signature=ThoughtSignature("anthropic", "sig"), at=(1, 0)),
        Thinking(summaries=("told",), signature=ThoughtSignature("openai", "enc"), at=(1, 1)),
        Thinking(is_redacted=True, signature=ThoughtSignature("openai", "enc"), at=(1, 2)),
        Thinking(text="open", signature=ThoughtSignature("none", ""), at=(1, 3)),
        Thinking(text="old", at=(1, 4)),
        ToolCall(
            id="t1",
            name="f",
            arguments='{"a":1}',
            signature=ThoughtSignature("google", "g"),
            at=(1, 6),
        ),
    )


def test_records_of_another_familys_search_are_left_out() -> None:
    mark = envelope(ThoughtSignature("openai", "ws_1"))
    blocks = [
        {"type": "server_tool_use", "id": mark, "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": mark, "content": []},
        {"type": "text", "text": "a", "citations": [{"type": "x", "encrypted_index": mark}]},
    ]
    assert read(answered(*blocks)).turns[1].parts == (Text(text="a", at=(1, 2)),)


def test_fields_are_named_as_the_client_names_them() -> None:
    schema = {"type": "json_schema", "schema": {}}
    names = {"output_format": schema}, {"output_config": {"format": schema}}
    older, newer = (MESSAGES.paths.of_body(body(**fields)) for fields in names)
    assert older.field("shape.schema") == "output_format.schema"
    assert newer.field("shape.schema") == "output_config.format.schema"
    assert older.field("limits.stop") == newer.field("limits.stop") == "stop_sequences"
