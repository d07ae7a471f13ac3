"""Calls of a coding agent in each format: 20 messages and 30 tools, about 67 KB."""

from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat

_encode = msgspec.json.encode

_TURNS = 5
_TOOLS = 30
_SYSTEM = "Work in small steps, read a file before you change it, and say what you did.\n" * 48
_QUESTION = 'The test "test_settles_late_events" fails since yesterday; find out why. ' * 3
_ANSWER = "The window was compared in local time; it is compared in UTC now, as events are.\n" * 2
_SOURCE = 'def settle(event: Event) -> None:\n\tif event.kind == "late":\n\t\treturn\n'
_ARGUMENTS = {"path": "src/ledger/settle.py", "old": _SOURCE * 2, "new": _SOURCE * 3}
_RESULT = "".join(f"{number:4d}\t{line}\n" for number, line in enumerate(_SOURCE.split("\n") * 12))
_DESCRIPTION = "Does one thing to the files of the project, and says what came of it. " * 4
_PROPERTIES = {
    "path": {"type": "string", "description": "Where the file is, from the project's root."},
    "paths": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 16},
    "mode": {"type": "string", "enum": ["read", "write", "append"], "default": "read"},
    "first_line": {"type": "integer", "minimum": 1, "description": "The first line to read."},
    "lines": {"type": "integer", "minimum": 1, "maximum": 2000},
    "recursive": {"type": "boolean", "default": False},
    "old": {"type": "string", "description": "The text to be replaced, which occurs once."},
    "new": {"type": ["string", "null"]},
    "filter": {
        "type": "object",
        "properties": {
            "include": {"type": "array", "items": {"type": "string"}},
            "exclude": {"type": "array", "items": {"type": "string"}},
            "max_depth": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        },
        "additionalProperties": False,
    },
    "edits": {
        "type": "array",
        "description": "Changes to make one after the other, all of them or none.",
        "items": {
            "type": "object",
            "properties": {
                "line": {"type": "integer", "minimum": 1},
                "kind": {"type": "string", "enum": ["insert", "replace", "delete"]},
                "text": {"type": "string", "description": "The new text, with its line ends."},
            },
            "required": ["line", "kind"],
            "additionalProperties": False,
        },
    },
    "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "Seconds to wait."},
}
_SCHEMA = {"type": "object", "properties": _PROPERTIES, "required": ["path"]}


def agent_call(client: ClientFormat, model: str, *, stream: bool = False) -> bytes:
    body = {"model": model, "stream": stream, **_BODIES[client]}
    return _encode(body)


def _chat() -> dict[str, Any]:
    arguments = _encode(_ARGUMENTS).decode()
    messages: list[dict[str, Any]] = [{"role": "system", "content": _SYSTEM}]
    for turn in range(_TURNS):
        call = {"name": "tool_1", "arguments": arguments}
        calls = [{"id": f"call_{turn}", "type": "function", "function": call}]
        messages += [
            {"role": "user", "content": _QUESTION},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"call_{turn}", "content": _RESULT},
            {"role": "assistant", "content": _ANSWER},
        ]
    messages[-1] = {"role": "user", "content": _QUESTION}
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": _DESCRIPTION, "parameters": _SCHEMA},
        }
        for name in _names()
    ]
    return {"messages": messages, "tools": tools, "max_tokens": 4096}


def _messages() -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral"}}
    messages: list[dict[str, Any]] = []
    for turn in range(_TURNS):
        call = {"type": "tool_use", "id": f"call_{turn}", "name": "tool_1", "input": _ARGUMENTS}
        result = {"type": "tool_result", "tool_use_id": f"call_{turn}", "content": _RESULT}
        messages += [
            {"role": "user", "content": [{"type": "text", "text": _QUESTION}]},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]},
        ]
    messages[-1] = {"role": "user", "content": [{"type": "text", "text": _QUESTION, **mark}]}
    tools = [
        {"name": name, "description": _DESCRIPTION, "input_schema": _SCHEMA} for name in _names()
    ]
    system = [{"type": "text", "text": _SYSTEM, **mark}]
    return {"system": system, "messages": messages, "tools": tools, "max_tokens": 4096}


def _responses() -> dict[str, Any]:
    arguments = _encode(_ARGUMENTS).decode()
    items: list[dict[str, Any]] = []
    for turn in range(_TURNS):
        call = {"call_id": f"call_{turn}", "name": "tool_1", "arguments": arguments}
        items += [
            {"role": "user", "content": [{"type": "input_text", "text": _QUESTION}]},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": f"call_{turn}", "output": _RESULT},
            {"role": "assistant", "content": [{"type": "output_text", "text": _ANSWER}]},
        ]
    items[-1] = {"role": "user", "content": [{"type": "input_text", "text": _QUESTION}]}
    tools = [
        {
            "type": "function",
            "name": name,
            "description": _DESCRIPTION,
            "parameters": _SCHEMA,
            "strict": False,
        }
        for name in _names()
    ]
    return {
        "instructions": _SYSTEM,
        "input": items,
        "tools": tools,
        "store": False,
        "max_output_tokens": 4096,
    }


def _names() -> list[str]:
    return [f"tool_{number}" for number in range(_TOOLS)]


_BODIES: dict[ClientFormat, dict[str, Any]] = {
    "chat": _chat(),
    "messages": _messages(),
    "responses": _responses(),
}
