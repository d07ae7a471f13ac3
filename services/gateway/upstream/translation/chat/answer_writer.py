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
from services.gateway.upstream.translation.chat.thoughts import block_of, text_of
from services.gateway.upstream.translation.chat.usage_writer import tier_of, write_usage
from services.gateway.upstream.translation.omissions import omit
from services.gateway.upstream.translation.parts import (
    Hosted,
    Opaque,
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
    """Raises CallMalformed for an answer of which nothing can be told."""
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
    """As OpenAI's look, with what tells the provider's own apart."""
    if upstream_id.startswith(_ID):
        return upstream_id
    tail = _PREFIX.sub("", upstream_id, count=1)
    return f"{_ID}{tail or sha256(upstream_id.encode()).hexdigest()[:_DIGEST_CHARS]}"


def _choice(reply: Reply, index: int, context: AnswerContext) -> dict[str, Any]:
    message = _Message(reply, context)
    logprobs = None if reply.logprobs is None else {"content": reply.logprobs, "refusal": None}
    return {
        "index": index,
        "message": message.written(),
        "logprobs": logprobs,
        "finish_reason": finish_reason(reply.stop, is_legacy=context.request.has_legacy_functions),
    }


class _Message:
    def __init__(self, reply: Reply, context: AnswerContext) -> None:
        self._reply = reply
        self._context = context
        self._text = ""
        self._refusal = ""
        self._annotations: list[dict[str, Any]] = []
        self._thoughts: list[str] = []
        self._blocks: list[dict[str, Any]] = []
        self._calls: list[dict[str, Any]] = []

    def written(self) -> dict[str, Any]:
        for part in self._reply.parts:
            if type(part) is Text:
                self._say(part)
            elif type(part) is Refusal:
                self._refusal += part.text
            elif type(part) is Thinking:
                self._think(part)
            elif type(part) is ToolCall:
                self._calls.append(written_call(part, self._context.names))
            elif isinstance(part, Hosted | Opaque):
                omit(self._context, part.kind, part.at)
        stop = self._reply.stop
        if stop.kind == "blocked" and stop.explanation:
            self._refusal += stop.explanation
        return self._message()

    def _say(self, part: Text) -> None:
        start = len(self._text)
        self._text += part.text
        if part.citations is not None:
            self._annotations += annotations(part.citations, start, len(self._text))

    def _think(self, part: Thinking) -> None:
        if text := text_of(part):
            self._thoughts.append(text)
        if (block := block_of(part)) is not None:
            self._blocks.append(block)

    def _message(self) -> dict[str, Any]:
        has_more = self._calls or self._refusal or self._thoughts or self._blocks
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self._text or (None if has_more else ""),
            "refusal": self._refusal or None,
        }
        if self._annotations:
            message["annotations"] = self._annotations
        if self._thoughts:
            message["reasoning_content"] = BREAK.join(self._thoughts)
        if self._blocks:
            message["thinking_blocks"] = self._blocks
        if self._calls and self._context.request.has_legacy_functions:
            # It has a place for one call.
            message["function_call"] = self._calls.pop(0)["function"]
        if self._calls:
            message["tool_calls"] = self._calls
        return message
