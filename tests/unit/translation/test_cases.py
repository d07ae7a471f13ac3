"""What ordinary clients send, by what it shows: each row is an input and its right value.

Targets are those of the bundled map, profiles and all. `SENT` is what a provider gets, `REFUSED`
what a client is told to change.
"""

import json
from typing import Any, NamedTuple

import pytest

from libs.common.errors import InvalidRequest, UnsupportedField
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import (
    CALL,
    CHAT_CALL,
    CHAT_TOOL,
    RESPONSES_CALL,
    RESPONSES_TOOL,
    SCHEMA,
    TOOL,
    Body,
    assistant,
    user,
)
from tests.unit.translation.engine.calls import body_of, translation

TEXT = {"type": "text", "text": "q"}
CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
FAILED = {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": "no file"}
RESULT = {"type": "tool_result", "tool_use_id": "c1", "content": "r"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
CHAT_TURN = assistant(None) | {"tool_calls": [CHAT_CALL]}
CHAT_RESULT = {"role": "tool", "tool_call_id": "c1", "content": "r"}
LONG_ID = "call_1__thought__" + "A" * 200
# As Claude Code labels its calls, longer than OpenAI takes.
USER_ID = json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "s" * 36})


class Row(NamedTuple):
    client: ClientFormat
    body: Body
    name: str
    # Members of what is sent, by path; None: not there.
    right: dict[str, Any]
    adapted: tuple[str, ...] = ()
    to: tuple[ClientFormat, ...] = ()


def messages(*turns: Body, **fields: Any) -> Body:
    return {"model": "x", "max_tokens": 5_000, "messages": [*turns] or [user("q")], **fields}


def chat(*turns: Body, **fields: Any) -> Body:
    return {"model": "x", "messages": [*turns] or [user("q")], **fields}


def responses(*items: Body, **fields: Any) -> Body:
    return {"model": "x", "input": [*items] or [user("q")], **fields}


def document(source: Body) -> Body:
    return messages(user([{"type": "document", "title": "t", "source": source}, TEXT]))


def at(body: Any, path: str) -> Any:
    """None where the path leads nowhere."""
    for step in path.split("."):
        if isinstance(body, list):
            body = body[int(step)] if int(step) < len(body) else None
        else:
            body = None if body is None else body.get(step)
    return body


AGENT = {"tools": [CHAT_TOOL], "reasoning_effort": "high"}
HIGH = {"effort": "high", "summary": "auto"}
NAMED = {"type": "function", "function": {"name": "f"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
CLAUDE, OLD_CLAUDE, ADAPTIVE = "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-6"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
THOUGHT = {"type": "thinking", "thinking": "secret", "signature": "sig"}
MANUAL = {"type": "enabled", "budget_tokens": 2_048}
LINES = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.b97;"},
    {"type": "text", "text": "You are"},
]

SENT = {
    "a text document is text": Row(
        "messages",
        document({"type": "text", "media_type": "text/plain", "data": "words"}),
        "gpt-4.1",
        {"messages.0.content.0": {"type": "text", "text": "t\n\nwords"}},
        ("messages[0].content[0]",),
        ("chat",),
    ),
    "a PDF is a file": Row(
        "messages",
        document(PDF),
        "gpt-4.1",
        {
            "messages.0.content.0.type": "file",
            "messages.0.content.0.file.file_data": "data:application/pdf;base64,JVBERi0=",
        },
        to=("chat",),
    ),
    "a PDF's address has a word in Responses": Row(
        "messages",
        document({"type": "url", "url": "https://x/a.pdf"}),
        "gpt-4.1",
        {"input.0.content.1": {"type": "input_file", "file_url": "https://x/a.pdf"}},
        ("messages[0].content[0]",),
    ),
    "a failed tool's result says so": Row(
        "messages",
        messages(user("q"), assistant([CALL]), user([FAILED]), tools=[TOOL]),
        "gemini/gemini-2.5-pro",
        {"messages.2.content": "Error: no file"},
    ),
    "a failed tool's result says so in Responses": Row(
        "messages",
        messages(user("q"), assistant([CALL]), user([FAILED]), tools=[TOOL]),
        "gpt-5-mini",
        {"input.2.output": "Error: no file"},
    ),
    "redacted thinking stays where it stood": Row(
        "messages",
        messages(
            user("q"),
            assistant([THOUGHT, {"type": "redacted_thinking", "data": "d"}, CALL]),
            user([RESULT]),
            tools=[TOOL],
        ),
        "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"messages.1.thinking_blocks.1": {"type": "redacted_thinking", "data": "d"}},
    ),
    "one call at a time": Row(
        "messages",
        messages(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        "gpt-4.1",
        {"parallel_tool_calls": False, "tool_choice": "auto"},
    ),
    "an effort without thinking": Row(
        "messages",
        messages(output_config={"effort": "low"}),
        "gpt-5-mini",
        {"reasoning.effort": "low"},
    ),
    "a strict tool": Row(
        "chat",
        chat(
            tools=[
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": CLOSED, "strict": True},
                }
            ]
        ),
        CLAUDE,
        {"tools.0.strict": True, "tools.0.input_schema": CLOSED},
    ),
    "a hint of style": Row(
        "responses",
        responses(text={"verbosity": "low"}),
        "hosted_vllm/qwen",
        {"verbosity": None},
        ("text.verbosity",),
    ),
    "a hint of style for Claude": Row(
        "chat", chat(verbosity="low"), CLAUDE, {"verbosity": None}, ("verbosity",)
    ),
    "a label that is too long": Row(
        "messages",
        messages(metadata={"user_id": USER_ID}),
        "gpt-4.1",
        {"user": "3f556a8087c5040a7f3ad27401c7e92258e0e91ec127c192c483c24032640cbb"},
    ),
    "thinking amid a tool loop that no thought began": Row(
        "chat",
        chat(user("q"), CHAT_TURN, CHAT_RESULT, **AGENT),
        OLD_CLAUDE,
        {"thinking.type": "disabled", "messages.1.content.0.type": "tool_use"},
        ("reasoning_effort",),
    ),
    "thinking amid a tool loop with another family's thought": Row(
        "responses",
        responses(
            user("q"),
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            RESPONSES_CALL,
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
            tools=[RESPONSES_TOOL],
            reasoning=HIGH,
        ),
        OLD_CLAUDE,
        {"thinking.type": "disabled", "messages.1.content.0.type": "tool_use"},
        ("reasoning.effort",),
    ),
    "adaptive thinking amid a tool loop": Row(
        "chat",
        chat(user("q"), CHAT_TURN, CHAT_RESULT, **AGENT),
        ADAPTIVE,
        {"thinking.type": "adaptive", "output_config.effort": "high"},
    ),
    "an effort and a small limit": Row(
        "chat",
        chat(reasoning_effort="high", max_tokens=1_000),
        OLD_CLAUDE,
        {"thinking.type": "disabled", "max_tokens": 1_000},
        ("reasoning_effort",),
    ),
    "an effort and a limit that leaves some room": Row(
        "chat",
        chat(reasoning_effort="high", max_completion_tokens=3_000),
        OLD_CLAUDE,
        {"thinking.budget_tokens": 1_976, "max_tokens": 3_000},
        ("reasoning_effort",),
    ),
    "an effort and a forced tool": Row(
        "chat",
        chat(tool_choice=NAMED, **AGENT),
        OLD_CLAUDE,
        {"thinking.type": "disabled", "tool_choice": {"type": "tool", "name": "f"}},
        ("reasoning_effort",),
    ),
    "an effort and a temperature": Row(
        "chat",
        chat(reasoning_effort="high", temperature=0),
        OLD_CLAUDE,
        {"thinking.budget_tokens": 16_384, "temperature": None},
        ("temperature",),
    ),
    "a replayed call has no member of another API": Row(
        "responses",
        responses(
            user("q"),
            RESPONSES_CALL,
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
            tools=[RESPONSES_TOOL],
        ),
        "gpt-4.1",
        {"messages.1": CHAT_TURN},
        to=("chat",),
    ),
    "another family's thinking stays at home": Row(
        "messages",
        messages(user("q"), assistant([THOUGHT, {"type": "text", "text": "a"}]), user("w")),
        "gpt-4.1",
        {"messages.1": {"role": "assistant", "content": "a"}},
        to=("chat",),
    ),
    "top_k where servers know it": Row(
        "messages", messages(top_k=5), "hosted_vllm/qwen", {"top_k": 5}
    ),
    "thinking that a model lacks": Row(
        "messages",
        messages(thinking=MANUAL),
        "gpt-4.1-mini",
        {"reasoning": None, "max_output_tokens": 5_000},
        ("thinking",),
    ),
    "adaptive thinking that a model lacks is not a loss": Row(
        "messages", messages(thinking={"type": "adaptive"}), "gpt-4.1", {"reasoning": None}
    ),
    "a search for OpenAI": Row(
        "messages",
        messages(tools=[TOOL, SEARCH]),
        "gpt-4.1",
        {"tools.1": {"type": "web_search"}},
    ),
    "a search for Claude": Row(
        "responses",
        responses(tools=[RESPONSES_TOOL, {"type": "web_search"}]),
        CLAUDE,
        {"tools.1": SEARCH},
    ),
    "allowed tools": Row(
        "chat",
        chat(tools=[CHAT_TOOL], tool_choice=ALLOWED),
        CLAUDE,
        {"tool_choice": {"type": "auto"}, "tools.0.name": "f"},
        ("tool_choice",),
    ),
    "a schema's name alone": Row(
        "chat",
        chat(response_format={"type": "json_schema", "json_schema": {"name": "n"}}),
        CLAUDE,
        {
            "output_config": None,
            "system.0.text": "Answer with a single JSON object and nothing else.",
        },
        ("response_format",),
    ),
    "a deployment that speaks chat is asked in chat": Row(
        "responses",
        responses(reasoning=HIGH, store=False),
        "gpt-5.1",
        {"messages.0.content": "q", "reasoning_effort": "high", "store": False},
        to=("chat",),
    ),
    "nothing is kept at the provider unasked, and its reasoning comes back signed": Row(
        "messages",
        messages(thinking=MANUAL, tools=[TOOL]),
        "gpt-5.4",
        {"store": False, "include": ["reasoning.encrypted_content"], "reasoning.effort": "low"},
    ),
    "no hidden caches at Google": Row(
        "messages",
        messages(user([TEXT | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}])),
        "gemini/gemini-2.5-pro",
        {"messages.0": user("q")},
    ),
    "an empty text beside calls": Row(
        "chat",
        chat(user("q"), CHAT_TURN | {"content": ""}, CHAT_RESULT, tools=[CHAT_TOOL]),
        CLAUDE,
        {"messages.1.content": [CALL]},
    ),
    "a system message inside": Row(
        "messages",
        messages(user("q"), {"role": "system", "content": "s"}, assistant("a"), user("w")),
        "hosted_vllm/qwen",
        {"messages.1": {"role": "system", "content": "s"}},
    ),
    "a system message inside, for a Claude that has one": Row(
        "chat",
        chat(user("q"), assistant("a"), {"role": "system", "content": "s"}, user("w")),
        "claude-opus-4-8",
        {"messages.2.role": "user", "messages.3.role": "system"},
    ),
    "a system message inside, for a Claude that has none": Row(
        "chat",
        chat(user("q"), assistant("a"), {"role": "system", "content": "s"}, user("w")),
        CLAUDE,
        {"messages.2.content.0.text": "<system-reminder>\ns\n</system-reminder>"},
        ("messages[2]",),
    ),
    "Claude Code's billing line": Row(
        "messages", messages(system=LINES), "gpt-4.1", {"instructions": "You are"}
    ),
    "no limit and no effort": Row("chat", chat(), OLD_CLAUDE, {"max_tokens": 64_000}),
    "no limit and an effort": Row(
        "chat",
        chat(reasoning_effort="low"),
        OLD_CLAUDE,
        {"max_tokens": 64_000, "thinking.budget_tokens": 2_048},
    ),
    "a signature within a call's id": Row(
        "chat",
        chat(
            user("q"),
            assistant(None) | {"tool_calls": [CHAT_CALL | {"id": LONG_ID}]},
            CHAT_RESULT | {"tool_call_id": LONG_ID},
            tools=[CHAT_TOOL],
        ),
        CLAUDE,
        {
            "messages.1.content.0.id": "call_1",
            "messages.2.content.0.tool_use_id": "call_1",
        },
    ),
    "thinking that nobody signed": Row(
        "messages",
        messages(
            user("q"),
            assistant([THOUGHT | {"signature": ""}, {"type": "text", "text": "a"}]),
            user("w"),
        ),
        OLD_CLAUDE,
        {"messages.1.content": [{"type": "text", "text": "a"}]},
        to=("messages",),
    ),
    "thinking that the gateway once minted for Claude": Row(
        "responses",
        responses(
            user("q"),
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "encrypted_content": json.dumps([THOUGHT]),
            },
            assistant("a"),
            user("w"),
        ),
        "gpt-5-mini",
        {"input.1": assistant("a")},
        to=("responses",),
    ),
    "any JSON object": Row(
        "responses",
        responses(text={"format": {"type": "json_object"}}),
        CLAUDE,
        {"system.0.text": "Answer with a single JSON object and nothing else."},
        ("text.format",),
    ),
    "structured answers as first named": Row(
        "messages",
        messages(output_format={"type": "json_schema", "schema": CLOSED}),
        "gpt-4.1",
        {"text.format.schema": CLOSED, "text.format.type": "json_schema"},
    ),
}


@pytest.mark.parametrize("row", SENT.values(), ids=SENT)
def test_a_request_is_translated_as_expected(row: Row) -> None:
    sent = translation(row.client, row.body, row.name, *row.to)
    body = body_of(sent)
    assert {path: at(body, path) for path in row.right} == row.right
    assert sent.report.adapted_params == row.adapted
    assert sent.report.dropped_params == ()
    # What another family minted, and words that nobody said.
    encoded = json.dumps(body)
    for foreign in ("__thought__", "Empty message content", "Operator note", "cc_version"):
        assert foreign not in encoded


def part(kind: str, **members: Any) -> Body:
    return user([{"type": kind, **members}])


Refused = tuple[ClientFormat, Body, str, str, str]
REFUSED: dict[str, Refused] = {
    "a PDF's address in chat": (
        "messages",
        document({"type": "url", "url": "https://x/a.pdf"}),
        "gemini/gemini-2.5-pro",
        "messages[0].content[0]",
        "by its URL",
    ),
    "an image that Anthropic keeps": (
        "messages",
        messages(part("image", source={"type": "file", "file_id": "file_1"})),
        "gpt-4.1",
        "messages[0].content[0]",
        "another provider keeps",
    ),
    "a block that nobody knows": (
        "messages",
        messages(part("novel", x=1)),
        "gpt-4.1",
        "messages[0].content[0]",
        "novel",
    ),
    "audio for Claude": (
        "chat",
        chat(part("input_audio", input_audio={"data": "aGk=", "format": "wav"})),
        CLAUDE,
        "messages[0].content[0]",
        "audio",
    ),
    "an image for a model that is blind": (
        "chat",
        chat(part("image_url", image_url={"url": "https://x/a.png"})),
        "deepseek/deepseek-chat",
        "messages[0].content[0]",
        "images",
    ),
    "a file that OpenAI keeps": (
        "chat",
        chat(part("file", file={"file_id": "file-1"})),
        CLAUDE,
        "messages[0].content[0]",
        "another provider keeps",
    ),
    "a file that OpenAI keeps, in Responses": (
        "responses",
        responses(part("input_file", file_id="file-1")),
        CLAUDE,
        "input[0].content[0]",
        "another provider keeps",
    ),
    "an image by its id": (
        "responses",
        responses(part("input_image", file_id="file-1", detail="auto")),
        "hosted_vllm/qwen",
        "input[0].content[0]",
        "by its file id",
    ),
    "top_k for OpenAI": ("messages", messages(top_k=5), "gpt-4.1", "top_k", "cannot be carried"),
    "examples of a tool's input": (
        "messages",
        messages(tools=[TOOL | {"input_examples": [{"a": "b"}]}]),
        "gpt-4.1",
        "tools[0].input_examples",
        "cannot be carried",
    ),
    "a temperature that a model chooses itself": (
        "chat",
        chat(temperature=0.2),
        "claude-opus-4-7",
        "temperature",
        "does not take it",
    ),
}
ITEMS: dict[str, Refused] = {
    f"the item {kind}": (
        "responses",
        responses(user("q"), {"type": kind, "id": "i", "call_id": "c"}, user("go on")),
        CLAUDE,
        "input[1]",
        kind,
    )
    for kind in (
        "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
        "compaction_trigger", "computer_call", "file_search_call", "image_generation_call",
        "item_reference", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
        "mcp_call", "mcp_list_tools", "program", "shell_call", "shell_call_output",
        "tool_search_call", "tool_search_output", "one_of_tomorrow",
    )
}  # fmt: skip


REFUSED |= ITEMS


@pytest.mark.parametrize(("client", "body", "name", "path", "word"), REFUSED.values(), ids=REFUSED)
def test_an_untranslatable_field_is_refused_by_path(
    client: ClientFormat, body: Body, name: str, path: str, word: str
) -> None:
    with pytest.raises(UnsupportedField, match=word) as refused:
        translation(client, body, name)
    assert refused.value.param == path
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["compaction", "mcp_call", "one_of_tomorrow"])
def test_content_is_never_left_out(kind: str) -> None:
    with pytest.raises(UnsupportedField):
        translation(
            "responses", responses(user("q"), {"type": kind}, user("w")), CLAUDE, drops=True
        )


MISTAKES: dict[str, tuple[ClientFormat, Body, str, str]] = {
    "a flat tool": (
        "chat",
        chat(tools=[{"type": "function", "name": "f", "parameters": SCHEMA}]),
        CLAUDE,
        "tools[0].function",
    ),
    "a schema that is a string": (
        "chat",
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
        CLAUDE,
        "tools[0].function.parameters",
    ),
    "a form that is a string": ("chat", chat(response_format="json"), CLAUDE, "response_format"),
    "a stop that is null": ("chat", chat(stop=[None]), CLAUDE, "stop[0]"),
    "a message without content": (
        "chat",
        chat({"role": "system"}, user("q")),
        CLAUDE,
        "messages[0].content",
    ),
    "a block that is a string": (
        "messages",
        messages(user(["hi"])),
        "gpt-4.1-mini",
        "messages[0].content[0]",
    ),
}


@pytest.mark.parametrize(("client", "body", "name", "path"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_the_clients(client: ClientFormat, body: Body, name: str, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translation(client, body, name)
    assert refused.value.status == 400
    assert refused.value.param == path
