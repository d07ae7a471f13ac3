"""Message content as clients write it: a string, or a list of typed parts."""

from collections.abc import Iterable
from typing import Any

import msgspec


class PromptPart(msgspec.Struct, frozen=True, kw_only=True):
    text: str | None = None


Content = str | list[PromptPart] | None


class PromptTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or an item without a role such as a tool's output."""

    role: str | None = None
    content: Content = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What the stand-in needs of a list of turns."""

    prompt: str
    characters: int
    ends_with_user: bool


def content_text(content: Content) -> str:
    if content is None or isinstance(content, str):
        return content if content is not None else ""
    return "\n".join(part.text for part in content if part.text is not None)


def summarise(turns: list[PromptTurn], *, system: Content, tools: Iterable[Any]) -> Conversation:
    texts = [content_text(turn.content) for turn in turns]
    prompts = [text for turn, text in zip(turns, texts, strict=True) if turn.role == "user"]
    tool_characters = sum(len(msgspec.json.encode(tool)) for tool in tools)
    return Conversation(
        prompt=prompts[-1] if prompts else "",
        characters=sum(map(len, texts)) + len(content_text(system)) + tool_characters,
        ends_with_user=bool(turns) and turns[-1].role == "user",
    )
