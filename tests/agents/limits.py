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
        items = [
            {"id": "rs_0", **item} if item.get("type") == "reasoning" else item
            for item in body["input"]
        ]
        body = {**body, "input": items}
    return faults(body, _TYPES[api][bool(body.get("stream"))])


def faults_of(api: str, body: dict[str, Any]) -> list[str]:
    return [*_of_any(api, body), *_RULES[api](body)]


def _of_any(api: str, body: dict[str, Any]) -> Iterator[str]:
    text = json.dumps(body)
    for signature in _FOREIGN[api]:
        if signature in text:
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
    call_ids: list[str] = []
    for role, blocks, path in turns:
        if role == "user":
            yield from _of_results(call_ids, blocks, path)
            call_ids = []
        for block in blocks:
            yield from _of_block(block, path)
        call_ids += [block["id"] for block in blocks if block["type"] == "tool_use"]
    if call_ids:
        yield f"messages: tool_use ids {call_ids} without tool_result blocks"
    for role, blocks, path in turns[-2:]:
        is_loop = role == "assistant" and any(block["type"] == "tool_use" for block in blocks)
        if manual and is_loop and blocks[0]["type"] not in _THOUGHTS:
            yield f"{path}: Expected `thinking`, but found `{blocks[0]['type']}`"


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _of_results(call_ids: list[str], blocks: list[dict[str, Any]], path: str) -> Iterator[str]:
    result_ids = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    if sorted(result_ids) != sorted(call_ids):
        yield f"{path}: tool_use ids {call_ids}, and tool_result blocks of {result_ids}"
    if any(block["type"] != "tool_result" for block in blocks[: len(result_ids)]):
        yield f"{path}: tool_result blocks come first"


def _of_block(block: dict[str, Any], path: str) -> Iterator[str]:
    match block["type"]:
        case "text" if not block["text"].strip():
            yield f"{path}: text content blocks must be non-empty"
        case "thinking" if not block["signature"].startswith(ANTHROPIC_SIGNATURE):
            yield f"{path}: Invalid `signature` in `thinking` block"
        case "tool_use" if not isinstance(block["input"], dict):
            yield f"{path}: Input should be a valid dictionary"


def _of_chat(body: dict[str, Any]) -> Iterator[str]:
    yield from _of_user(body)
    pending_ids: list[str] = []
    for n, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in pending_ids:
                yield f"messages[{n}]: a result of no call"
            else:
                pending_ids.remove(message["tool_call_id"])
            continue
        if pending_ids:
            yield f"messages[{n}]: tool_call_ids without results: {pending_ids}"
        pending_ids = [call["id"] for call in message.get("tool_calls", ())]
        if message["role"] == "assistant" and not (message.get("content") or pending_ids):
            yield f"messages[{n}]: neither content nor tool_calls"
    if pending_ids:
        yield f"messages: tool_call_ids without results: {pending_ids}"


def _of_responses(body: dict[str, Any]) -> Iterator[str]:
    yield from _of_user(body)
    items = body["input"] if isinstance(body["input"], list) else []
    kinds = [item.get("type", "message") for item in items]
    calls = {item["call_id"] for item in items if item.get("type", "").endswith("_call")}
    outputs = {item["call_id"] for item in items if item.get("type", "").endswith("_call_output")}
    if calls != outputs:
        yield f"input: calls and outputs do not agree: {sorted(calls ^ outputs)}"
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
