"""Requests of Responses clients."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from libs.common.errors import InvalidRequest, UnsupportedField
from services.gateway.upstream.translation.conversation import (
    Labels,
    OutputLimits,
    Sampling,
    Shape,
    Turn,
    Wish,
)
from services.gateway.upstream.translation.parts import (
    Bytes,
    CacheMark,
    DocumentPart,
    FileId,
    Image,
    Opaque,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    ThoughtSignature,
    ToolCall,
    Url,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.responses.paths import PATHS
from tests.unit.translation.responses.bodies import (
    MESSAGES_PATHS,
    USER,
    kinds_of,
    parts_of,
    read,
    request,
    write,
    write_own,
)

CARRIED = {
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "web_search_call",
    "additional_tools",
}
# What is refused by kind and path, each as the SDK's type wants it.
SAID = {"role": "assistant", "content": "x"}
OPAQUE: dict[str, dict[str, Any]] = {
    "file_search_call": {"id": "fs", "queries": ["q"], "status": "completed"},
    "computer_call": {
        "id": "c",
        "call_id": "c1",
        "pending_safety_checks": [],
        "status": "completed",
    },
    "computer_call_output": {"call_id": "c1", "output": {"type": "computer_screenshot"}},
    "tool_search_call": {"arguments": {"query": "q"}},
    "tool_search_output": {"tools": [{"type": "web_search"}]},
    "configuration_update": {"reasoning": {"effort": "low"}},
    "compaction": {"encrypted_content": "x"},
    "image_generation_call": {"id": "i", "result": "aGk=", "status": "completed"},
    "code_interpreter_call": {
        "id": "ci",
        "code": "1",
        "container_id": "co",
        "outputs": [],
        "status": "completed",
    },
    "local_shell_call": {
        "id": "l",
        "call_id": "l1",
        "status": "completed",
        "action": {"type": "exec", "command": ["ls"], "env": {}},
    },
    "local_shell_call_output": {"id": "l1", "output": "{}"},
    "shell_call": {"call_id": "s1", "action": {"commands": ["ls"]}},
    "shell_call_output": {
        "call_id": "s1",
        "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}],
    },
    "apply_patch_call": {
        "call_id": "a1",
        "status": "completed",
        "operation": {"type": "delete_file", "path": "p"},
    },
    "apply_patch_call_output": {"call_id": "a1", "status": "completed", "output": "done"},
    "mcp_list_tools": {"id": "m", "server_label": "s", "tools": [{"name": "t", "input_schema": 1}]},
    "mcp_approval_request": {"id": "m", "arguments": "{}", "name": "t", "server_label": "s"},
    "mcp_approval_response": {"approval_request_id": "m", "approve": True},
    "mcp_call": {"id": "m", "arguments": "{}", "name": "t", "server_label": "s", "output": "x"},
    "compaction_trigger": {},
    "item_reference": {"id": "msg_1"},
    "program": {"id": "p", "call_id": "p1", "code": "1", "fingerprint": "f"},
    "program_output": {"id": "p", "call_id": "p1", "result": "1", "status": "completed"},
}


def test_every_kind_of_item_is_carried_or_known_to_be_refused() -> None:
    assert kinds_of(ResponseInputItemParam) == CARRIED | OPAQUE.keys()


@pytest.mark.parametrize("kind", OPAQUE)
def test_openai_only_items_are_kept_for_openai(kind: str) -> None:
    item = {"type": kind, **OPAQUE[kind]}
    found = read({"input": [USER, item, USER]})
    opaque = [part for turn in found.turns for part in turn.parts if isinstance(part, Opaque)]
    assert [(part.kind, part.family, part.at) for part in opaque] == [(kind, "openai", (1,))]
    assert write_own(found)["input"][1] == item
    with pytest.raises(UnsupportedField, match=kind) as refused:
        write(found, report=Report(MESSAGES_PATHS, drops=True))
    assert refused.value.param == "messages[1]"
    assert ("compacted" in refused.value.message) == kind.startswith("compaction")
    with pytest.raises(UnsupportedField):
        write_own(found, Profile(family="xai"))


def test_a_new_kind_is_named() -> None:
    assert parts_of({"type": "dream", "content": {"deep": True}} | {"content": None})[0] == Opaque(
        kind="dream",
        raw=msgspec.Raw(b'{"type": "dream", "content": null}'),
        family="openai",
        at=(0,),
    )
    assert read({"input": [{"id": "msg_1"}]}).turns[0].parts[0].kind == "item_reference"  # type: ignore[union-attr]


def test_assistant_items_are_one_turn_and_outputs_are_another() -> None:
    found = read(
        {
            "instructions": "be brief",
            "input": [
                {"type": "message", "role": "developer", "content": "dev"},
                USER,
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
                {
                    "type": "function_call",
                    "id": "fc_1",
                    "call_id": "c1",
                    "name": "f",
                    "arguments": "",
                },
                {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "raw"},
                {"type": "function_call_output", "call_id": "c1", "output": "one"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "c2",
                    "output": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}],
                },
                USER,
            ],
        }
    )
    assert found.turns == (
        Turn(role="system", at=(-1,), parts=(Text(text="be brief", at=(-1,)),)),
        Turn(role="developer", at=(0,), parts=(Text(text="dev", at=(0,)),)),
        Turn(role="user", at=(1,), parts=(Text(text="go on", at=(1,)),)),
        Turn(
            role="assistant",
            at=(2,),
            parts=(
                Thinking(signature=ThoughtSignature("openai", "enc"), item_id="rs_1", at=(2,)),
                Text(text="a", at=(3, 0)),
                ToolCall(id="c1", name="f", arguments="", item_id="fc_1", at=(4,)),
                ToolCall(id="c2", name="g", arguments="raw", is_freeform=True, at=(5,)),
            ),
        ),
        Turn(
            role="user",
            at=(6,),
            parts=(
                Result(call_id="c1", parts=(Text(text="one", at=(6,)),), at=(6,)),
                Result(
                    call_id="c2",
                    parts=(Image(source=Bytes("image/png", "aGk="), at=(7, -1)),),
                    is_freeform=True,
                    at=(7,),
                ),
            ),
        ),
        Turn(role="user", at=(8,), parts=(Text(text="go on", at=(8,)),)),
    )


def test_a_message_of_another_phase_begins_a_turn() -> None:
    def message(phase: str | None) -> dict[str, Any]:
        return {"role": "assistant", "content": "x", "phase": phase}

    found = read({"input": [message("commentary"), message(None), message("final_answer")]})
    assert [(turn.phase, len(turn.parts)) for turn in found.turns] == [
        ("commentary", 2),
        ("final_answer", 1),
    ]
    assert [item.get("phase") for item in write_own(found)["input"]] == [
        "commentary",
        "final_answer",
    ]


@pytest.mark.parametrize(
    ("item", "right"),
    [
        ({"content": [{"type": "input_text", "text": "hi"}]}, Text(text="hi", at=(0, 0))),
        (
            {"content": [{"type": "input_image", "image_url": "https://x/a.png", "detail": "low"}]},
            Image(source=Url("https://x/a.png"), detail="low", at=(0, 0)),
        ),
        (
            {"content": [{"type": "input_image", "file_id": "file-1", "detail": "auto"}]},
            Image(source=FileId("file-1", "openai"), detail="auto", at=(0, 0)),
        ),
        (
            {"content": [{"type": "input_file", "file_data": "aGk=", "filename": "a.pdf"}]},
            DocumentPart(source=Bytes("application/pdf", "aGk="), filename="a.pdf", at=(0, 0)),
        ),
        (
            {"content": [{"type": "input_file", "file_url": "https://x/a.pdf"}]},
            DocumentPart(source=Url("https://x/a.pdf"), at=(0, 0)),
        ),
        (
            {
                "content": [
                    {
                        "type": "input_text",
                        "text": "hi",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                    }
                ]
            },
            Text(text="hi", cache=CacheMark(43200), at=(0, 0)),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            Refusal(text="no", at=(0, 0)),
        ),
    ],
)
def test_parts_are_read(item: dict[str, Any], right: Part) -> None:
    assert parts_of({"role": "user", **item}) == (right,)
    assert parts_of(*write_own(read({"input": [{"role": "user", **item}]}))["input"])[0] == (
        msgspec.structs.replace(right, at=(0,))
        if isinstance(right, Text) and right.cache is None
        else right
    )


def test_a_part_that_is_not_known_is_refused_by_its_path() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}}
    item = {"role": "user", "content": [{"type": "input_text", "text": "x"}, audio]}
    found = read({"input": [item]})
    assert found.turns[0].parts[1] == Opaque(
        kind="input_audio", raw=msgspec.Raw(json.dumps(audio).encode()), family="openai", at=(0, 1)
    )
    with pytest.raises(UnsupportedField, match=r"messages\[0\].content\[1\]: input_audio"):
        write(found)
    item = {"type": "function_call_output", "call_id": "c", "output": [audio]}
    part = parts_of(item)[0]
    assert isinstance(part, Result)
    assert PATHS.of(part.parts[0].at) == "input[0].output[0]"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": 1}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [USER, {"role": "user", "content": 3}]}, "input[1].content"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "dog", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": ["hi"]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]},
            "input[0].content[0].text",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_image", "image_url": "data:image/png,x"}],
                    }
                ]
            },
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
            "input[0].call_id",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]},
            "input[0].name",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "additional_tools", "role": "developer"}]}, "input[0].tools"),
        ({"tools": {}}, "tools"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": "{}"}]}, "tools[0].parameters"),
        ({"tools": [{"type": "function", "name": "f", "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [{"type": "custom", "name": "f", "format": {"type": "x"}}]}, "tools[0].format"),
        ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0]"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]},
            "tools[0].tools[0].type",
        ),
        ({"tools": [{"type": "web_search", "filters": []}]}, "tools[0].filters"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": []}, "text"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"verbosity": 1}}, "text.verbosity"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"a": None}}, "metadata[...]"),
        ({"include": "x"}, "include"),
        ({"include": [1]}, "include[0]"),
        ({"store": "no"}, "store"),
        ({"user": 1}, "user"),
    ],
)
def test_a_mistake_is_named_by_its_full_path(body: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as found:
        read({"input": "hi", **body})
    assert found.value.param == path
    assert found.value.message.startswith(f"{path}: ")


def test_fields_are_read() -> None:
    found = read(
        {
            "input": "hi",
            "max_output_tokens": 100,
            "max_tool_calls": 2,
            "temperature": 0.5,
            "top_p": 1,
            "top_logprobs": 3,
            "include": ["message.output_text.logprobs", "web_search_call.action.sources"],
            "reasoning": {"effort": "high", "summary": "auto", "context": "auto", "mode": "pro"},
            "text": {"verbosity": "low", "format": {"type": "json_object"}, "new": 1},
            "parallel_tool_calls": False,
            "tool_choice": {"type": "mcp", "server_label": "s"},
            "store": False,
            "user": "u",
            "safety_identifier": "s",
            "metadata": {"a": "b"},
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
            "prompt_cache_options": {"ttl": "12h"},
            "service_tier": "flex",
            "stream": True,
            "stream_options": {"include_obfuscation": False},
            "truncation": "disabled",
            "previous_response_id": "resp_1",
            "background": None,
            "client_metadata": {"x": "y"},
            "brand_new": [1],
        }
    )
    assert found.limits == OutputLimits(output_tokens=100, hosted_calls=2)
    assert found.sampling == Sampling(
        temperature=0.5, top_p=1.0, wants_logprobs=True, top_logprobs=3
    )
    assert found.thinking == Wish(effort="high", summary="auto")
    assert (found.shape, found.verbosity) == (Shape(kind="json_object"), "low")
    assert (found.parallel, found.choice, found.stream) == (False, None, True)
    assert found.labels == Labels(
        user="u",
        safety_id="s",
        metadata=msgspec.Raw(b'{"a": "b"}'),
        cache_key="k",
        cache_retention="24h",
        keeps=False,
        tier="flex",
    )
    assert found.extra.keys() == {
        "brand_new",
        "previous_response_id",
        "reasoning.mode",
        "text.new",
        "tool_choice",
    }
    assert found.hints.keys() == {
        "client_metadata",
        "include",
        "prompt_cache_options",
        "reasoning.context",
        "stream_options",
        "truncation",
    }


def test_a_prewarm_asks_for_no_tokens() -> None:
    options = {"prewarm": True, "ttl": "30m"}
    found = read({"input": "hi", "prompt_cache_options": options})
    assert found.limits.output_tokens == 0
    assert write_own(found)["prompt_cache_options"] == options
    assert write(request(Text(text="hi"), limits=OutputLimits(output_tokens=0))) == {
        "model": "gpt-x",
        "input": [{"role": "user", "content": "hi"}],
        "prompt_cache_options": {"prewarm": True},
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_content_that_the_provider_keeps_is_refused_whatever_a_route_drops(name: str) -> None:
    value = {"id": "x_1"} if name == "prompt" else "x_1"
    found = read({"input": "hi", name: value})
    report = Report(MESSAGES_PATHS, drops=True)
    with pytest.raises(UnsupportedField, match="send the whole conversation") as refused:
        write(found, report=report)
    assert refused.value.param == name
    assert write_own(found)[name] == value


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": [{**USER, "mood": "good"}]}, "input[0].mood"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "a": 1}]}]},
            "input[0].content[0].a",
        ),
        (
            {
                "input": [
                    USER,
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_text", "text": "x", "a": 1}],
                    },
                ]
            },
            "input[1].output[0].a",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "a": 1}}},
            "text.format.a",
        ),
        ({"tool_choice": {"type": "function", "name": "f", "a": 1}}, "tool_choice.a"),
    ],
)
def test_a_member_that_would_be_lost_silently_is_refused(body: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedField) as found:
        read({"input": "hi", **body})
    assert found.value.param == path


def test_unknown_members_without_effect_are_accepted() -> None:
    item = {**USER, "mood": None, "status": "completed"}
    program = {"type": "program", "id": "p", "call_id": "p1", "code": "1", "fingerprint": "f"}
    assert len(read({"input": [item, program, {**SAID, "created_by": "agent"}]}).turns) == 2
