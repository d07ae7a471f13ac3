"""Tools of Responses clients, and tools for providers that speak Responses."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses.tool_param import ToolParam

from libs.common.errors import UnsupportedField
from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.names import tool_names
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.tools import (
    Freeform,
    Function,
    HostedTool,
    Search,
    ToolChoice,
)
from tests.unit.translation.coverage.bodies import RESPONSES_TOOL
from tests.unit.translation.engine.calls import body_of, translation
from tests.unit.translation.responses.bodies import (
    CODEX,
    MESSAGES_PATHS,
    USER,
    kinds_of,
    read,
    write,
    write_own,
)


def test_codex_tools_are_read() -> None:
    found = read(CODEX)
    shell, patch, find, search = found.tools
    assert isinstance(shell, Function)
    assert (shell.name, shell.strict, shell.at) == ("shell", False, (0,))
    assert isinstance(patch, Freeform)
    assert (patch.syntax, patch.grammar) == ("lark", "start: x")
    assert isinstance(find, Function)
    assert (find.namespace, find.name, find.at) == ("mcp__docs", "find", (2, 0))
    assert isinstance(search, Search)
    assert (search.context_size, search.extra) == (
        "low",
        {"external_web_access": msgspec.Raw(b"false")},
    )


HOSTED_TOOLS: dict[str, dict[str, Any]] = {
    "file_search": {"vector_store_ids": ["vs"]},
    "computer": {},
    "computer_use_preview": {"display_height": 1, "display_width": 1, "environment": "linux"},
    "mcp": {"server_label": "s"},
    "code_interpreter": {"container": {"type": "auto"}},
    "programmatic_tool_calling": {},
    "image_generation": {},
    "local_shell": {},
    "shell": {},
    "tool_search": {},
    "apply_patch": {},
}


def test_every_kind_of_tool_is_carried_or_known_to_be_refused() -> None:
    carried = {"function", "custom", "namespace", "web_search", "web_search_preview"}
    dated = {"web_search_2025_08_26", "web_search_preview_2025_03_11"}
    assert kinds_of(ToolParam) == carried | dated | HOSTED_TOOLS.keys()


@pytest.mark.parametrize("kind", HOSTED_TOOLS)
def test_hosted_tools_are_for_their_own_family(kind: str) -> None:
    tool = {"type": kind, **HOSTED_TOOLS[kind]}
    found = read({"input": "hi", "tools": [tool]})
    assert found.tools == (
        HostedTool(kind=kind, at=(0,), raw=msgspec.Raw(json.dumps(tool).encode()), family="openai"),
    )
    assert write_own(found)["tools"] == [tool]
    report = Report(MESSAGES_PATHS, drops=True)
    assert "tools" not in write(found, report=report)
    assert report.dropped_params == ("tools[0]",)
    with pytest.raises(UnsupportedField, match=kind):
        write(found)


def test_members_that_only_openai_knows_are_named() -> None:
    tool = {
        "type": "function",
        "name": "f",
        "parameters": {"type": "object"},
        "strict": True,
        "defer_loading": True,
        "output_schema": {"type": "string"},
        "allowed_callers": ["direct"],
        "async": False,
    }
    found = read({"input": "hi", "tools": [tool]})
    assert found.tools[0].extra.keys() == {"defer_loading", "output_schema"}  # type: ignore[union-attr]
    report = Report(MESSAGES_PATHS, drops=True)
    assert write(found, report=report)["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    ]
    assert report.dropped_params == ("tools[0].defer_loading", "tools[0].output_schema")
    del tool["allowed_callers"], tool["async"]
    assert write_own(found)["tools"] == [tool]


def test_tools_that_items_bring_join_the_list_and_go_back_where_they_stood() -> None:
    added = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [
            {"type": "function", "name": "g", "parameters": {"type": "object"}, "strict": False},
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True},
        ],
    }
    first = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
    found = read({"input": [USER, added, USER], "tools": [first]})
    functions = [tool for tool in found.tools if isinstance(tool, Function)]
    assert [(tool.name, tool.at) for tool in functions] == [("f", (0,)), ("g", (-2, 0))]
    assert [tool["name"] for tool in write(found)["tools"]] == ["f", "g"]
    own_body = write_own(found)
    assert own_body["tools"] == [first]
    assert own_body["input"] == [USER, added | {"tools": added["tools"][:1]}, USER]
    assert PATHS.tool((-2, 0), "strict") == "input[1].tools[0].strict"
    assert PATHS.tool((-2, 0, 1)) == "input[1].tools[0].tools[1]"
    assert PATHS.tool((2, 1), "strict") == "tools[2].tools[1].strict"


@pytest.mark.parametrize(
    ("sent", "read_as", "written"),
    [
        ("required", ToolChoice(mode="required"), "required"),
        (
            {"type": "function", "name": "shell"},
            ToolChoice(mode="required", names=("shell",)),
            {"type": "function", "name": "shell"},
        ),
        (
            {"type": "custom", "name": "apply_patch"},
            ToolChoice(mode="required", names=("apply_patch",)),
            {"type": "custom", "name": "apply_patch"},
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [
                    {"type": "function", "name": "shell"},
                    {"type": "custom", "name": "apply_patch"},
                ],
            },
            ToolChoice(mode="auto", names=("shell", "apply_patch")),
            None,
        ),
        ({"type": "shell"}, None, None),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}, None, None),
    ],
)
def test_choices(sent: Any, read_as: ToolChoice | None, written: Any) -> None:
    found = read({**CODEX, "tool_choice": sent})
    assert found.choice == read_as
    assert write_own(found)["tool_choice"] == (sent if written is None else written)


def test_servers_that_are_not_openai_get_functions_alone() -> None:
    other = Profile(family="other", takes_search=True)
    called = [
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "find",
            "namespace": "mcp__docs",
            "arguments": "{}",
        },
        {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*** é"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
    ]
    choice = {"type": "custom", "name": "apply_patch"}
    found = read({**CODEX, "input": [USER, *called], "tool_choice": choice})
    body = write_own(found, other)
    assert [(tool["type"], tool.get("name")) for tool in body["tools"]] == [
        ("function", "shell"),
        ("function", "apply_patch"),
        ("function", "mcp__docs__find"),
        ("web_search", None),
    ]
    assert "start: x" in body["tools"][1]["description"]
    assert body["tool_choice"] == {"type": "function", "name": "apply_patch"}
    first, second, *outputs = body["input"][1:]
    assert (first["name"], first["type"]) == ("mcp__docs__find", "function_call")
    assert json.loads(second["arguments"]) == {"input": "*** é"}
    assert {output["type"] for output in outputs} == {"function_call_output"}
    names = tool_names(found, other.max_name_chars, PATHS)
    assert names.original("mcp__docs__find") == ("mcp__docs", "find", False)
    assert names.original("apply_patch") == (None, "apply_patch", True)


def test_a_namespace_that_has_no_word_elsewhere_is_named() -> None:
    space = {
        "type": "namespace",
        "name": "docs",
        "description": "the library",
        "tools": [RESPONSES_TOOL],
    }
    added = {"type": "additional_tools", "role": "developer", "tools": [space | {"name": "more"}]}
    body = {"model": "x", "input": [USER, added, USER], "tools": [space]}
    roads: tuple[tuple[str, ClientFormat], ...] = (
        ("gpt-4.1", "chat"),
        ("claude-haiku-4-5", "messages"),
    )
    for name, to in roads:
        sent = translation("responses", body, name, to)
        assert sent.report.adapted_params == (
            "tools[0].description",
            "input[1].tools[0].description",
        )
    own = translation("responses", body, "gpt-4.1", "responses")
    assert own.report.adapted_params == ()
    assert body_of(own)["tools"] == [space]
