"""The members of OpenAI's chat completions, whole and in chunks, that are read."""

from collections.abc import Iterator
from typing import Any

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import ABSENT

# What OpenAI's searching models leave of their one search: no usage counts it. In a text that says
# so there is a backslash before its quotes.
CITATION = b'"url_citation"'


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None
    custom: Any = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None


class ChatAnswer(msgspec.Struct):
    """A whole completion or a chunk of one, without its text."""

    model: Any = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    choices: msgspec.Raw = ABSENT
    service_tier: str | None = None


class ChatTexts(msgspec.Struct):
    """The text of a completion or a chunk."""

    choices: list[_Choice] = []


chat_answer = msgspec.json.Decoder(ChatAnswer)
chat_texts = msgspec.json.Decoder(ChatTexts)


def is_empty(choices: msgspec.Raw) -> bool:
    return bytes(choices).strip(b"[] \n") in (b"", b"null")


def with_search(tokens: TokenUsage) -> TokenUsage:
    """With the one search that is charged for, where the usage says nothing of any."""
    if tokens.web_searches is not None:
        return tokens
    return msgspec.structs.replace(tokens, web_searches=1)


def texts_of(texts: ChatTexts) -> Iterator[str | None]:
    for choice in texts.choices:
        for message in (choice.message, choice.delta):
            if message is None:
                continue
            thoughts = message.reasoning_content or _text(message.reasoning)
            yield from (message.content, thoughts, message.refusal)
            for call in message.tool_calls or ():
                if call.function is not None:
                    yield from (call.function.name, call.function.arguments)
                if isinstance(call.custom, dict):
                    yield from (_text(call.custom.get("name")), _text(call.custom.get("input")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
