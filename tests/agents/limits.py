"""What providers refuse, beyond their types: each rule one that a provider's own error quotes."""

import json
import re
from collections.abc import Iterator
from typing import Any

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)

from tests.agents.speech import ANTHROPIC_SIGNATURE, OPENAI_SIGNATURE
from tests.unit.translation.judge import faults

_TYPES: dict[str, tuple[Any, Any]] = {
    "chat": (CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming),
    "responses": (ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming),
    "messages": (MessageCreateParamsNonStreaming, MessageCreateParamsStreaming),
}
_NAMES = {
    "chat": re.compile(r"^[a-zA-Z0-9_-]{1,64}$"),
    "responses": re.compile(r"^[a-zA-Z0-9_-]{1,64}$"),
    "messages": re.compile(r"^[a-zA-Z0-9_-]{1,128}$"),
}
_FOREIGN = {
    "chat": ("gws1.", ANTHROPIC_SIGNATURE, OPENAI_SIGNATURE),
    "responses": ("gws1.", ANTHROPIC_SIGNATURE),
    "messages": ("gws1.", OPENAI_SIGNATURE),
}
_THOUGHTS = ("thinking", "redacted_thinking")
_MOST_CACHE_MARKS = 4
_LONGEST_USER = 64
_LEAST_BUDGET = 1024


def faults_of_types(api: str, body: dict[str, Any]) -> list[str]:
    """By the SDK's own types; an agent itself may use what they do not know yet."""
    if api == "responses" and isinstance(body["input"], list):
        # Codex itself sends signed reasoning without an id to OpenAI.
        named = [
            {"id": "rs_0", **item} if item.get("type") == "reasoning" else item
            for item in body["input"]
        ]
        body = {**body, "input": named}
    return faults(body, _TYPES[api][bool(body.get("stream"))])


def faults_of(api: str, body: dict[str, Any]) -> list[str]:
    return [*_of_any(api, body), *_RULES[api](body)]


def _of_any(api: str, body: dict[str, Any]) -> Iterator[str]:
    said = json.dumps(body)
    for signature in _FOREIGN[api]:
        if signature in said:
            yield f"{signature!r} was not minted here"
    for tool in body.get("tools", ()):
        function = tool.get("function", tool) if api == "chat" else tool
        name = function.get("name")
        if name is not None and not _NAMES[api].match(name):
            yield f"tools: the name {name!r}"


def _of_messages(body: dict[str, Any]) -> Iterator[str]:
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = thinking["budget_tokens"]
        if not _LEAST_BUDGET <= budget < body["max_tokens"]:
            yield f"thinking: a budget of {budget} in {body['max_tokens']} tokens"
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            yield "thinking: not with a forced tool"
        if body.get("temperature", 1) != 1 or "top_k" in body:
            yield "thinking: not with a temperature or top_k"
    if json.dumps(body).count('"cache_control": {') > _MOST_CACHE_MARKS:
        yield "cache_control: at most four"
    if not body["messages"] or body["messages"][0]["role"] == "assistant":
        yield "messages: the first one is the user's"
    yield from _of_turns(body, manual=thinking.get("type") == "enabled")


def _of_turns(body: dict[str, Any], *, manual: bool) -> Iterator[str]:
    turns = [
        (turn["role"], _blocks(turn["content"]), f"messages.{n}")
        for n, turn in enumerate(body["messages"])
    ]
    called: list[str] = []
    for role, blocks, where in turns:
        if role == "user":
            yield from _of_results(called, blocks, where)
            called = []
        for block in blocks:
            yield from _of_block(block, where)
        called += [block["id"] for block in blocks if block["type"] == "tool_use"]
    if called:
        yield f"messages: tool_use ids {called} without tool_result blocks"
    for role, blocks, where in turns[-2:]:
        is_loop = role == "assistant" and any(block["type"] == "tool_use" for block in blocks)
        if manual and is_loop and blocks[0]["type"] not in _THOUGHTS:
            yield f"{where}: Expected `thinking`, but found `{blocks[0]['type']}`"


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _of_results(called: list[str], blocks: list[dict[str, Any]], where: str) -> Iterator[str]:
    given = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if sorted(given) != sorted(called):
        yield f"{where}: tool_use ids {called}, and tool_result blocks of {given}"
    if any(block["type"] != "tool_result" for block in blocks[: len(given)]):
        yield f"{where}: tool_result blocks come first"


def _of_block(block: dict[str, Any], where: str) -> Iterator[str]:
    match block["type"]:
        case "text" if not block["text"].strip():
            yield f"{where}: text content blocks must be non-empty"
        case "thinking" if not block["signature"].startswith(ANTHROPIC_SIGNATURE):
            yield f"{where}: Invalid `signature` in `thinking` block"
        case "tool_use" if not isinstance(block["input"], dict):
            yield f"{where}: Input should be a valid dictionary"


def _of_chat(body: dict[str, Any]) -> Iterator[str]:
    yield from _of_user(body)
    waiting: list[str] = []
    for n, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"messages[{n}]: a result of no call"
            else:
                waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            yield f"messages[{n}]: tool_call_ids without results: {waiting}"
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        if message["role"] == "assistant" and not (message.get("content") or waiting):
            yield f"messages[{n}]: neither content nor tool_calls"
    if waiting:
        yield f"messages: tool_call_ids without results: {waiting}"


def _of_responses(body: dict[str, Any]) -> Iterator[str]:
    yield from _of_user(body)
    items = body["input"] if isinstance(body["input"], list) else []
    kinds = [item.get("type", "message") for item in items]
    called = {item["call_id"] for item in items if item.get("type", "").endswith("_call")}
    given = {item["call_id"] for item in items if item.get("type", "").endswith("_call_output")}
    if called != given:
        yield f"input: calls and outputs do not agree: {sorted(called ^ given)}"
    for n, item in enumerate(items):
        if kinds[n] != "reasoning":
            continue
        if not str(item.get("encrypted_content", "")).startswith(OPENAI_SIGNATURE):
            yield f"input[{n}]: Item '{item.get('id')}' not found"
        follows = kinds[n + 1] if n + 1 < len(items) else None
        is_own = follows in ("reasoning", "function_call", "custom_tool_call") or (
            follows == "message" and items[n + 1].get("role") == "assistant"
        )
        if not is_own:
            yield f"input[{n}]: reasoning without its required following item"


def _of_user(body: dict[str, Any]) -> Iterator[str]:
    if len(body.get("user") or "") > _LONGEST_USER:
        yield "user: longer than 64"


_RULES = {"chat": _of_chat, "messages": _of_messages, "responses": _of_responses}
