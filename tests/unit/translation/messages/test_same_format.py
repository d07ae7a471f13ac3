"""What Anthropic's own clients send comes out as it went in, strictly valid by the SDK's types."""

from typing import Any

import msgspec
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.gateway.formats.base import decode_fields
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.refusals import Report
from tests.unit.translation.messages.requests import CLAUDE, body, read, rewritten

PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}
TOOL = {"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}
CITATION = {
    "type": "char_location",
    "cited_text": "a",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}

USER_BLOCKS: dict[str, Any] = {
    "text": {"type": "text", "text": "a"},
    "marked text": {"type": "text", "text": "a", "cache_control": HOUR},
    "image": {"type": "image", "source": PNG, "cache_control": MARK},
    "image by url": {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
    "image by id": {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    "resized image": {
        "type": "image",
        "source": PNG,
        "transformations": {"oversized_image": "error"},
    },
    "pdf": {"type": "document", "source": PDF, "title": "t", "context": "c", "cache_control": MARK},
    "pdf by url": {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
    "text document": {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "a"},
        "citations": {"enabled": True},
    },
    "document of blocks": {
        "type": "document",
        "source": {
            "type": "content",
            "content": [{"type": "text", "text": "a"}, {"type": "image", "source": PNG}],
        },
    },
    "search result": {
        "type": "search_result",
        "source": "https://x",
        "title": "t",
        "content": [{"type": "text", "text": "a"}],
        "citations": {"enabled": False},
    },
    "upload": {"type": "container_upload", "file_id": "file_1"},
    "unknown": {"type": "hologram", "depth": 3},
}
ASSISTANT_BLOCKS: dict[str, Any] = {
    "cited text": {"type": "text", "text": "a", "citations": [CITATION]},
    "thinking": {"type": "thinking", "thinking": "a", "signature": "sig"},
    "thinking not shown": {"type": "thinking", "thinking": "", "signature": "sig"},
    "redacted": {"type": "redacted_thinking", "data": "sig"},
    "call": CALL,
    "call of code": CALL | {"caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}},
    "call of a set": CALL | {"toolset_name": "browser"},
    "hosted call": {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "a"},
    },
    "hosted result": {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {
                "type": "web_search_result",
                "url": "https://x",
                "title": "t",
                "encrypted_content": "e",
                "page_age": None,
            }
        ],
    },
    "compaction": {"type": "compaction", "content": "summary"},
}
RESULTS: dict[str, Any] = {
    "parts": {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [USER_BLOCKS["text"], USER_BLOCKS["image"], USER_BLOCKS["pdf"]],
        "is_error": True,
        "cache_control": MARK,
    },
    "reference": {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "tool_reference", "tool_name": "Bash"}],
    },
    "of a set": {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [],
        "toolset_name": "browser",
    },
}
FIELDS: dict[str, dict[str, Any]] = {
    "system": {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["x"]},
    "budget": {"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}},
    "adaptive": {"thinking": {"type": "adaptive", "display": "summarized"}},
    "no thinking": {"thinking": {"type": "disabled"}},
    "between tools": {"thinking": {"type": "between_tools"}},
    "output": {
        "output_config": {
            "effort": "xhigh",
            "format": {"type": "json_schema", "schema": {"type": "object", "$ref": "#/a"}},
            "task_budget": {"type": "tokens", "total": 5},
        }
    },
    "labels": {"metadata": {"user_id": "u"}, "service_tier": "standard_only"},
    "auto": {"service_tier": "auto", "cache_control": HOUR},
    "anthropic's own": {
        "speed": "standard",
        "mcp_servers": [],
        "inference_geo": "us",
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "container": "container_1",
        "diagnostics": {"previous_message_id": "msg_1"},
    },
    "tools": {
        "tools": [
            TOOL | {"cache_control": MARK, "strict": True},
            TOOL | {"name": "b", "type": "custom", "input_examples": [{"a": 1}]},
            TOOL | {"name": "c", "defer_loading": False, "eager_input_streaming": True},
            {"type": "bash_20250124", "name": "bash"},
            {
                "type": "web_search_20260209",
                "name": "web_search",
                "max_uses": 3,
                "allowed_domains": ["x.org"],
                "user_location": {"type": "approximate", "city": "Bern"},
                "allowed_callers": ["direct"],
            },
        ],
        "tool_choice": {"type": "tool", "name": "Bash", "disable_parallel_tool_use": True},
    },
    "any tool": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "no tool": {"tools": [TOOL], "tool_choice": {"type": "none"}},
    "alone": {
        "tools": [TOOL],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
}


def _turns(user: list[Any], assistant: list[Any], results: list[Any]) -> list[Any]:
    history = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return [*history, {"role": "user", "content": [*results, {"type": "text", "text": "go on"}]}]


def _expected(client_body: dict[str, Any]) -> dict[str, Any]:
    """Less the one thing that says nothing: the type of a tool of the client's."""
    tools = [
        {name: value for name, value in tool.items() if (name, value) != ("type", "custom")}
        for tool in client_body.get("tools", [])
    ]
    return client_body | ({"tools": tools} if tools else {})


@pytest.mark.parametrize("block", USER_BLOCKS.values(), ids=USER_BLOCKS)
def test_blocks_of_users(block: Any) -> None:
    client_body = body(*_turns([block], [{"type": "text", "text": "ok"}], []))
    assert rewritten(client_body) == client_body


@pytest.mark.parametrize("block", ASSISTANT_BLOCKS.values(), ids=ASSISTANT_BLOCKS)
def test_blocks_of_the_model(block: Any) -> None:
    client_body = body(*_turns([{"type": "text", "text": "a"}], [block], []))
    assert rewritten(client_body) == client_body


@pytest.mark.parametrize("block", RESULTS.values(), ids=RESULTS)
def test_results(block: Any) -> None:
    client_body = body(*_turns([{"type": "text", "text": "a"}], [CALL], [block]))
    assert rewritten(client_body) == client_body


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_fields(fields: dict[str, Any]) -> None:
    client_body = body({"role": "user", "content": [{"type": "text", "text": "a"}]}, **fields)
    assert rewritten(client_body) == _expected(client_body)


def test_schemas_and_inputs_are_not_touched() -> None:
    raw = b'{ "b":1 ,"a":1.0,"c":"\\u00e9" }'
    client_body = (
        b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"assistant",'
        b'"content":[{"type":"tool_use","id":"t","name":"f","input":%b}]}],'
        b'"tools":[{"name":"f","input_schema":%b}]}' % (raw, raw)
    )
    request = MESSAGES.read_request(decode_fields(client_body))
    report = Report(MESSAGES.paths, drops=False)

    provider_body = msgspec.json.encode(MESSAGES.write_request(request, "m", CLAUDE, report))

    assert provider_body.count(raw) == 2


known = [name for name in USER_BLOCKS if name != "unknown"]


@given(
    user=st.lists(st.sampled_from(known), min_size=1),
    assistant=st.lists(st.sampled_from(sorted(ASSISTANT_BLOCKS)), min_size=1),
    results=st.lists(st.sampled_from(sorted(RESULTS))),
    fields=st.lists(st.sampled_from(sorted(FIELDS))),
)
def test_any_of_them_together(
    user: list[str], assistant: list[str], results: list[str], fields: list[str]
) -> None:
    client_body = body(
        *_turns(
            [USER_BLOCKS[name] for name in user],
            [ASSISTANT_BLOCKS[name] for name in assistant],
            [RESULTS[name] for name in results],
        )
    )
    for name in fields:
        client_body |= FIELDS[name]

    provider_body = rewritten(client_body)

    assert provider_body == _expected(client_body)
    PARAMS.validate_python(provider_body, strict=True)


def test_equal_meanings_are_read_alike() -> None:
    """A string is one text; the first name of structured answers is that of today."""
    shape = {"type": "json_schema", "schema": {"type": "object"}}
    short = body({"role": "user", "content": "a"}, system="s", output_format=shape, top_k=None)
    long = body(
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        system=[{"type": "text", "text": "s"}],
        output_config={"format": shape},
    )
    assert rewritten(short) == rewritten(long) == long
    assert read(short).turns[1].parts[0].at == (0,)
    assert read(long).turns[1].parts[0].at == (0, 0)
