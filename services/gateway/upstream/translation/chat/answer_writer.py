"""Writes whole answers for a client that speaks chat."""

import re
from hashlib import sha256
from typing import Any

import msgspec

from libs.common.errors import CallMalformed
from services.gateway.upstream.translation.chat.calls import written_call
from services.gateway.upstream.translation.chat.citations import annotations
from services.gateway.upstream.translation.chat.part_writer import BREAK
from services.gateway.upstream.translation.chat.stops import finish_reason
from services.gateway.upstream.translation.chat.thoughts import block_of, thought_text
from services.gateway.upstream.translation.chat.usage_writer import tier_of, write_usage
from services.gateway.upstream.translation.omissions import omit
from services.gateway.upstream.translation.parts import (
    Hosted,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from services.gateway.upstream.translation.reply import AnswerContext, Reply

_ID = "chatcmpl-"
_PREFIX = re.compile(r"^[a-z]{2,8}[_-]")
_DIGEST_CHARS = 29
MALFORMED = "The model's tool call could not be read by its provider."


def write_answer(reply: Reply, context: AnswerContext) -> bytes:
    """Raises CallMalformed for an answer without anything that can be written."""
    replies = (reply, *reply.others)
    if any(each.stop.kind == "malformed" for each in replies):
        raise CallMalformed(MALFORMED)
    answer: dict[str, Any] = {
        "id": answer_id(reply.id),
        "object": "chat.completion",
        "created": context.created if reply.created is None else reply.created,
        "model": context.model,
        "choices": [_choice(each, index, context) for index, each in enumerate(replies)],
    }
    if (usage := write_usage(reply.usage)) is not None:
        answer["usage"] = usage
    if (tier := tier_of(reply.tier)) is not None:
        answer["service_tier"] = tier
    if reply.fingerprint is not None:
        answer["system_fingerprint"] = reply.fingerprint
    return msgspec.json.encode(answer)


def answer_id(upstream_id: str) -> str:
    """An id in OpenAI's form, unique to the provider's own id."""
    if upstream_id.startswith(_ID):
        return upstream_id
    tail = _PREFIX.sub("", upstream_id, count=1)
    return f"{_ID}{tail or sha256(upstream_id.encode()).hexdigest()[:_DIGEST_CHARS]}"


def _choice(reply: Reply, index: int, context: AnswerContext) -> dict[str, Any]:
    logprobs = None if reply.logprobs is None else {"content": reply.logprobs, "refusal": None}
    return {
        "index": index,
        "message": _message(reply, context),
        "logprobs": logprobs,
        "finish_reason": finish_reason(reply.stop, is_legacy=context.request.has_legacy_functions),
    }


def _message(reply: Reply, context: AnswerContext) -> dict[str, Any]:
    text = refusal = ""
    citations: list[dict[str, Any]] = []
    other_parts: list[Part] = []
    for part in reply.parts:
        if type(part) is Text:
            start = len(text)
            text += part.text
            if part.citations is not None:
                citations += annotations(part.citations, start, len(text))
        elif type(part) is Refusal:
            refusal += part.text
        else:
            other_parts.append(part)
    if reply.stop.kind == "blocked" and reply.stop.explanation:
        refusal += reply.stop.explanation
    members = _thinking_and_calls(other_parts, context) if other_parts else None
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text or (None if refusal or members else ""),
        "refusal": refusal or None,
    }
    if citations:
        message["annotations"] = citations
    return message | members if members else message


def _thinking_and_calls(parts: list[Part], context: AnswerContext) -> dict[str, Any]:
    thoughts: list[Thinking] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        if type(part) is Thinking:
            thoughts.append(part)
        elif type(part) is ToolCall:
            calls.append(written_call(part, context.names))
        elif isinstance(part, Hosted | Opaque):
            omit(context, part.kind, part.at)
    members = _thinking(thoughts)
    if calls and context.request.has_legacy_functions:
        # The legacy form holds only one call.
        members["function_call"] = calls.pop(0)["function"]
    if calls:
        members["tool_calls"] = calls
    return members


def _thinking(thoughts: list[Thinking]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if texts := [text for thought in thoughts if (text := thought_text(thought))]:
        members["reasoning_content"] = BREAK.join(texts)
    if blocks := [block for thought in thoughts if (block := block_of(thought)) is not None]:
        members["thinking_blocks"] = blocks
    return members
