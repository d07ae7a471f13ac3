"""Reasoning items: OpenAI's own, and those that hold another provider's thinking in an envelope.

Another family's envelope holds a thought with its signature, or the signatures of calls by their
ids. What nobody signed has an empty envelope, and its text in the item's content.
"""

from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.upstream.translation.parts import (
    At,
    Family,
    Thinking,
    ThoughtSignature,
)
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.responses.ids import is_minted
from services.gateway.upstream.translation.responses.wire import Item
from services.gateway.upstream.translation.thought_signatures import (
    UNSIGNED,
    envelope,
    signature_in,
)

FAMILY: Family = "openai"
# What an earlier version put in the place of an envelope: Anthropic's blocks, as a list.
_OLD_MARK = "[{"


class _Signed(msgspec.Struct, frozen=True, omit_defaults=True):
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
_signed = msgspec.json.Decoder(_Signed)
_old_blocks = msgspec.json.Decoder(list[_OldBlock])


class ReadReasoning(msgspec.Struct, frozen=True):
    """`call_signatures` are those of calls in the same turn, by their ids."""

    thoughts: tuple[Thinking, ...]
    call_signatures: dict[str, ThoughtSignature] = {}


def read_reasoning(item: Item, at: At, family: Family = FAMILY) -> ReadReasoning:
    """`family` is the one whose signature a bare `encrypted_content` is."""
    summaries = tuple([part.text or "" for part in item.summary]) if item.summary else ()
    content = item.content
    text = "".join([part.text or "" for part in content]) if isinstance(content, list) else ""
    value = item.encrypted_content or ""
    if value.startswith(_OLD_MARK):
        return ReadReasoning(_old_thoughts(value, at))
    signature = signature_in(value, family)
    if signature is None or signature.family == family:
        own = Thinking(text=text, summaries=summaries, signature=signature, item_id=item.id, at=at)
        return ReadReasoning((own,))
    if signature.family == UNSIGNED:
        return ReadReasoning(
            (Thinking(text=text or "".join(summaries), signature=signature, at=at),)
        )
    try:
        signed = _signed.decode(signature.data)
    except UNREADABLE:
        # The envelope was made for another format.
        return ReadReasoning(
            (Thinking(text=text or "".join(summaries), signature=signature, at=at),)
        )
    calls = {
        call_id: ThoughtSignature(signature.family, data) for call_id, data in signed.calls.items()
    }
    thought = Thinking(
        text=signed.text,
        signature=None if signed.data is None else ThoughtSignature(signature.family, signed.data),
        is_redacted=signed.is_redacted,
        at=at,
    )
    return ReadReasoning((thought,) if signed.text or signed.data else (), calls)


def _old_thoughts(value: str, at: At) -> tuple[Thinking, ...]:
    try:
        blocks = _old_blocks.decode(value)
    except UNREADABLE:
        return ()
    thoughts = []
    for block in blocks:
        if block.type == "redacted_thinking" and block.data:
            signature = ThoughtSignature("anthropic", block.data)
            thoughts.append(Thinking(signature=signature, is_redacted=True, at=at))
        elif block.type == "thinking":
            signed = (
                ThoughtSignature("anthropic", block.signature)
                if block.signature
                else ThoughtSignature(UNSIGNED, "")
            )
            thoughts.append(Thinking(text=block.thinking, signature=signed, at=at))
    return tuple(thoughts)


def shows_summary(family: Family) -> bool:
    """Whether a thought of this family is told as a summary: it is, of those that sign theirs."""
    return family in ("openai", "anthropic", "google")


def reasoning_item(
    summaries: list[str],
    text: str,
    signature: ThoughtSignature | None,
    *,
    is_redacted: bool = False,
) -> dict[str, Any]:
    """As a client gets it, but for its id. `text` is the thought itself."""
    item: dict[str, Any] = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": summary} for summary in summaries],
    }
    if text:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    if signature is None or signature.family == UNSIGNED:
        if text or summaries:
            item["encrypted_content"] = envelope(ThoughtSignature(UNSIGNED, ""))
    elif signature.family == FAMILY:
        item["encrypted_content"] = signature.data
    else:
        thought = text or "".join(summaries)
        signed = _Signed(text=thought, data=signature.data, is_redacted=is_redacted)
        item["encrypted_content"] = envelope(
            ThoughtSignature(signature.family, _encode(signed).decode())
        )
    return item


def call_signature_item(family: Family, signatures: dict[str, str]) -> dict[str, Any]:
    """Holds the signatures of calls, by their ids."""
    data = _encode(_Signed(calls=signatures)).decode()
    return {
        "type": "reasoning",
        "summary": [],
        "encrypted_content": envelope(ThoughtSignature(family, data)),
    }


def written_thought(part: Thinking, profile: Profile, *, keeps: bool) -> dict[str, Any] | None:
    """A thought as its own provider wants it back; None for any other, which is left out.

    `keeps`: the provider may have kept the item, and knows it by its id.
    """
    signature = part.signature
    item: dict[str, Any] = {"type": "reasoning"}
    if part.item_id is not None and not is_minted(part.item_id):
        item["id"] = part.item_id
    if signature is None or signature.family == UNSIGNED:
        is_kept = keeps and profile.family == FAMILY and signature is None and "id" in item
        if not is_kept and profile.replays_thinking is None:
            return None
    elif signature.family != profile.family:
        return None
    summaries = part.summaries
    if profile.family != FAMILY:
        if part.text:
            item["content"] = [{"type": "reasoning_text", "text": part.text}]
    elif not summaries and part.text:
        # Through a client of another format, which has one text for both.
        summaries = (part.text,)
    item["summary"] = [{"type": "summary_text", "text": summary} for summary in summaries]
    if signature is not None and signature.data:
        item["encrypted_content"] = signature.data
    return item
