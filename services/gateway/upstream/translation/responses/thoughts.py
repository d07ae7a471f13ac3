"""Reasoning items: OpenAI's own, and those that hold another provider's thinking in an envelope.

Another family's envelope holds a thought with its seal, or the seals of calls by their ids. What
nobody signed has an empty envelope, and its text in the item's content.
"""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.parts import (
    At,
    Family,
    Seal,
    Thinking,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.responses.ids import is_minted
from services.gateway.upstream.translation.responses.wire import Item
from services.gateway.upstream.translation.seals import UNSIGNED, envelope, sealed

FAMILY: Family = "openai"
# What an earlier version put in the place of an envelope: Anthropic's blocks, as a list.
_OLD_MARK = "[{"


class _Sealed(msgspec.Struct, frozen=True, omit_defaults=True):
    text: str = ""
    data: str | None = None
    is_redacted: bool = False
    calls: dict[str, str] = {}


class _OldBlock(msgspec.Struct, frozen=True):
    type: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str | None = None


_encode = msgspec.json.encode
_sealed = msgspec.json.Decoder(_Sealed)
_old_blocks = msgspec.json.Decoder(list[_OldBlock])


class ReadReasoning(msgspec.Struct, frozen=True):
    """`call_seals` are those of calls in the same turn, by their ids."""

    thoughts: tuple[Thinking, ...]
    call_seals: dict[str, Seal] = {}


def read_reasoning(item: Item, at: At, family: Family = FAMILY) -> ReadReasoning:
    """`family` is the one whose seal a bare `encrypted_content` is."""
    summaries = tuple([part.text or "" for part in item.summary]) if item.summary else ()
    content = item.content
    text = "".join([part.text or "" for part in content]) if isinstance(content, list) else ""
    value = item.encrypted_content or ""
    if value.startswith(_OLD_MARK):
        return ReadReasoning(_old_thoughts(value, at))
    seal = sealed(value, family)
    if seal is None or seal.family == family:
        own = Thinking(text=text, summaries=summaries, seal=seal, item_id=item.id, at=at)
        return ReadReasoning((own,))
    if seal.family == UNSIGNED:
        return ReadReasoning((Thinking(text=text or "".join(summaries), seal=seal, at=at),))
    try:
        held = _sealed.decode(seal.data)
    except UNREADABLE:
        # The envelope was made for another format.
        return ReadReasoning((Thinking(text=text or "".join(summaries), seal=seal, at=at),))
    calls = {call_id: Seal(seal.family, data) for call_id, data in held.calls.items()}
    thought = Thinking(
        text=held.text,
        seal=None if held.data is None else Seal(seal.family, held.data),
        is_redacted=held.is_redacted,
        at=at,
    )
    return ReadReasoning((thought,) if held.text or held.data else (), calls)


def _old_thoughts(value: str, at: At) -> tuple[Thinking, ...]:
    try:
        blocks = _old_blocks.decode(value)
    except UNREADABLE:
        return ()
    thoughts = []
    for block in blocks:
        if block.type == "redacted_thinking" and block.data:
            seal = Seal("anthropic", block.data)
            thoughts.append(Thinking(seal=seal, is_redacted=True, at=at))
        elif block.type == "thinking":
            signed = Seal("anthropic", block.signature) if block.signature else Seal(UNSIGNED, "")
            thoughts.append(Thinking(text=block.thinking, seal=signed, at=at))
    return tuple(thoughts)


def shows_summary(family: Family) -> bool:
    """Whether a thought of this family is told as a summary: it is, of those that sign theirs."""
    return family in ("openai", "anthropic", "google")


def reasoning_item(
    summaries: list[str], text: str, seal: Seal | None, *, is_redacted: bool = False
) -> dict[str, Any]:
    """As a client gets it, but for its id. `text` is the thought itself."""
    item: dict[str, Any] = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": summary} for summary in summaries],
    }
    if text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if seal is None or seal.family == UNSIGNED:
        if text or summaries:
            item["encrypted_content"] = envelope(Seal(UNSIGNED, ""))
    elif seal.family == FAMILY:
        item["encrypted_content"] = seal.data
    else:
        thought = text or "".join(summaries)
        held = _Sealed(text=thought, data=seal.data, is_redacted=is_redacted)
        item["encrypted_content"] = envelope(Seal(seal.family, _encode(held).decode()))
    return item


def call_seal_item(family: Family, seals: dict[str, str]) -> dict[str, Any]:
    """Holds the seals of calls, by their ids."""
    held = _encode(_Sealed(calls=seals)).decode()
    return {
        "type": "reasoning",
        "summary": [],
        "encrypted_content": envelope(Seal(family, held)),
    }


def written_thought(part: Thinking, profile: Profile, *, keeps: bool) -> dict[str, Any] | None:
    """As its own provider wants it back; None for anybody else's, which is left out.

    `keeps`: the provider may have kept the item, and knows it by its id.
    """
    seal = part.seal
    item: dict[str, Any] = {"type": "reasoning"}
    if part.item_id is not None and not is_minted(part.item_id):
        item["id"] = part.item_id
    if seal is None or seal.family == UNSIGNED:
        is_kept = keeps and profile.family == FAMILY and seal is None and "id" in item
        if not is_kept and profile.replays_thinking is None:
            return None
    elif seal.family != profile.family:
        return None
    summaries = part.summaries
    if profile.family != FAMILY:
        if part.text:
            item["content"] = [{"type": "reasoning_text", "text": part.text}]
    elif not summaries and part.text:
        # Through a client of another format, which has one text for both.
        summaries = (part.text,)
    item["summary"] = [{"type": "summary_text", "text": summary} for summary in summaries]
    if seal is not None and seal.data:
        item["encrypted_content"] = seal.data
    return item
