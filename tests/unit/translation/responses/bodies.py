"""Responses bodies through the reader and the writer, and the SDK's types as their judge."""

import json
from typing import Any, get_args, get_type_hints

import msgspec
from openai.types.responses.response_create_params import ResponseCreateParams
from pydantic import TypeAdapter

from services.gateway.upstream.translation.conversation import Request, Turn
from services.gateway.upstream.translation.parts import Part
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Paths, Report
from services.gateway.upstream.translation.responses.paths import PATHS
from services.gateway.upstream.translation.responses.request_reader import read_request
from services.gateway.upstream.translation.responses.request_writer import write_request

OPENAI = Profile(
    family="openai",
    formats=("responses", "chat"),
    efforts=("none", "minimal", "low", "medium", "high", "xhigh"),
    takes_search=True,
    takes_cache_marks=True,
)
# Of a client of another format.
MESSAGES_PATHS = Paths(
    format="messages",
    turns="messages",
    parts=("content", "content"),
    fields={"limits.stop": "stop_sequences"},
)
USER = {"role": "user", "content": "go on"}
# As Codex sends one.
CODEX: dict[str, Any] = {
    "model": "gpt-5.2-codex",
    "instructions": "You are Codex.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "d"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "on it"}],
            "phase": "commentary",
        },
        {"type": "function_call", "name": "shell", "arguments": '{"a":1}', "call_id": "call_1"},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin", "call_id": "c2"},
        {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "run",
            "strict": False,
            "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "edit",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
        },
        {
            "type": "namespace",
            "name": "mcp__docs",
            "description": "docs",
            "tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}}],
        },
        {"type": "web_search", "external_web_access": False, "search_context_size": "low"},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "high", "summary": "auto"},
    "store": False,
    "stream": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
}
_params = TypeAdapter[Any](ResponseCreateParams)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def fields_of(body: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return _fields.decode(json.dumps(body))


def read(body: dict[str, Any]) -> Request:
    return read_request(fields_of({"model": "m", **body}))


def write(
    request: Request, profile: Profile = OPENAI, report: Report | None = None
) -> dict[str, Any]:
    """What a foreign client's request becomes, unless `report` says that it is an own one."""
    report = report or Report(MESSAGES_PATHS, drops=False)
    fields = write_request(request, "gpt-x", profile, report)
    body: dict[str, Any] = json.loads(msgspec.json.encode(fields))
    judge(body)
    return body


def write_own(request: Request, profile: Profile = OPENAI) -> dict[str, Any]:
    return write(request, profile, Report(PATHS, drops=False))


def judge(body: dict[str, Any]) -> None:
    """Fails where the SDK's own type would not let a user write this."""
    # The type demands what OpenAI does not: that a client which keeps nothing sends ids back.
    items = [_with_id(item) for item in body["input"]]
    read_back = _params.validate_python({**body, "input": items})
    list(read_back.get("tools", ()))


def _with_id(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "reasoning":
        return {"id": "rs_1", **item}
    if item.get("role") == "assistant" and not isinstance(item["content"], str):
        return {"id": "msg_1", "status": "completed", **item}
    return item


def parts_of(*items: dict[str, Any]) -> tuple[Part, ...]:
    return tuple(part for turn in read({"input": list(items)}).turns for part in turn.parts)


def request(*parts: Part, **fields: Any) -> Request:
    return Request(turns=(Turn(role="user", parts=parts, at=(0,)),), **fields)


def kinds_of(union: object) -> set[str]:
    kinds: set[str] = set()
    for member in get_args(union):
        hint = get_type_hints(member)["type"]
        kinds |= {kind for choice in get_args(hint) or (hint,) for kind in _words(choice)}
    return kinds


def _words(hint: object) -> tuple[str, ...]:
    return (hint,) if isinstance(hint, str) else get_args(hint)
