"""Removes from a relayed body what the gateway itself had its client keep.

A conversation that went to several providers holds thinking of each, in envelopes of the
gateway's; a provider refuses those of another. All else of the body stays byte for byte.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.translation.thought_signatures import MARK

_GOOGLE = frozenset({"gemini", "vertex_ai"})
_OFF = {"type": "disabled"}
_THOUGHTS = ("thinking", "redacted_thinking")
_MINTED_BLOCKS = '[{"type":'


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


_kind = msgspec.json.Decoder(_Kind)


def without_foreign_signatures(
    client_format: ClientFormat,
    fields: dict[str, Any],
    provider: str,
    *,
    is_elsewhere: bool = False,
) -> dict[str, Any]:
    """The same fields where nothing of that kind is in them.

    `is_elsewhere`: the base URL is not the provider's own. Behind OpenAI's format there may be
    another gateway with Claude's models, which takes their thinking in chat.
    """
    history = _HISTORIES.get(client_format)
    raw = None if history is None else fields.get(history.field)
    if history is None or raw is None:
        return fields
    data = bytes(raw)
    if history.hint not in data:
        return fields
    if not (_has_one(data, history.places) and _has_one(data, history.signs)):
        return fields
    try:
        turns = msgspec.json.decode(data)
    except UNREADABLE:
        return fields
    if not isinstance(turns, list):
        return fields
    may_be_claude = provider == "openai" and is_elsewhere
    clean_turns = history.clean(turns, provider, may_be_claude)
    if clean_turns == turns:
        return fields
    clean_fields = {**fields, history.field: clean_turns}
    if history.has_budgets and _wants_thinking_amid_tools(fields, clean_turns):
        clean_fields["thinking"] = _OFF
    return clean_fields


def _wants_thinking_amid_tools(fields: Mapping[str, Any], turns: list[Any]) -> bool:
    """Whether Anthropic would refuse the call: with a budget, the calls whose results come now have
    to follow thinking, which another provider's have not.
    """
    try:
        thinking = _kind.decode(fields.get("thinking", b"{}"))
    except UNREADABLE:
        return False
    if thinking.type != "enabled":
        return False
    for turn in reversed(turns):
        if not isinstance(turn, dict) or turn.get("role") != "assistant":
            continue
        content = turn.get("content")
        kinds = [b.get("type") for b in content if isinstance(b, dict)] if content else []
        return "tool_use" in kinds and kinds[0] not in _THOUGHTS and turn is not turns[-1]
    return False


def _has_one(data: bytes, signs: tuple[bytes, ...]) -> bool:
    for sign in signs:  # noqa: SIM110 - a generator would cost as much as a search
        if sign in data:
            return True
    return False


def _clean_items(items: list[Any], *_: object) -> list[Any]:
    return [item for item in items if not _is_foreign_item(item)]


def _is_foreign_item(item: Any) -> bool:
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    encrypted = item.get("encrypted_content")
    return isinstance(encrypted, str) and encrypted.startswith((MARK, _MINTED_BLOCKS))


def _clean_messages(turns: list[Any], *_: object) -> list[Any]:
    return [_clean_message(turn) if isinstance(turn, dict) else turn for turn in turns]


def _clean_message(turn: dict[str, Any]) -> dict[str, Any]:
    content = turn.get("content")
    if turn.get("role") != "assistant" or not isinstance(content, list):
        return turn
    kept = [_without_foreign_citations(block) for block in content if not _is_foreign_block(block)]
    return {**turn, "content": kept}


def _is_foreign_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    match block.get("type"):
        case "thinking":
            signature = block.get("signature")
            return signature == "" or _is_envelope(signature)
        case "redacted_thinking":
            return _is_envelope(block.get("data"))
        case "server_tool_use":
            return _holds_envelope(block.get("id"))
        case "web_search_tool_result":
            return _holds_envelope(block.get("tool_use_id"))
    return False


def _without_foreign_citations(block: Any) -> Any:
    """Without what the search of another family's provider is quoted by."""
    citations = block.get("citations") if isinstance(block, dict) else None
    if not isinstance(citations, list) or not any(map(_is_foreign_citation, citations)):
        return block
    kept = [citation for citation in citations if not _is_foreign_citation(citation)]
    rest = {name: value for name, value in block.items() if name != "citations"}
    return {**rest, "citations": kept} if kept else rest


def _is_foreign_citation(citation: Any) -> bool:
    return isinstance(citation, dict) and _is_envelope(citation.get("encrypted_index"))


def _clean_chat(turns: list[Any], provider: str, may_be_claude: bool) -> list[Any]:
    return [
        _clean_turn(turn, provider=provider, may_be_claude=may_be_claude)
        if isinstance(turn, dict)
        else turn
        for turn in turns
    ]


def _clean_turn(turn: dict[str, Any], *, provider: str, may_be_claude: bool) -> dict[str, Any]:
    blocks, calls = turn.get("thinking_blocks"), turn.get("tool_calls")
    clean_turn = dict(turn)
    if isinstance(blocks, list):
        kept = [block for block in blocks if may_be_claude and not _is_foreign_block(block)]
        if kept:
            clean_turn["thinking_blocks"] = kept
        else:
            del clean_turn["thinking_blocks"]
    if isinstance(calls, list) and provider not in _GOOGLE:
        clean_turn["tool_calls"] = [_without_signature(call) for call in calls]
    return clean_turn


def _without_signature(call: Any) -> Any:
    """Without Gemini's signature, which only Google's own endpoint has a word for."""
    extra = call.get("extra_content") if isinstance(call, dict) else None
    if not isinstance(extra, dict) or "google" not in extra:
        return call
    others = {name: value for name, value in extra.items() if name != "google"}
    rest = {name: value for name, value in call.items() if name != "extra_content"}
    return {**rest, "extra_content": others} if others else rest


def _holds_envelope(value: Any) -> bool:
    return isinstance(value, str) and MARK in value


def _is_envelope(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


class _History(msgspec.Struct, frozen=True, kw_only=True):
    """Where a format keeps earlier turns, and how they are rid of another provider's signatures.

    `clean` gets the turns, the provider, and whether it may be Claude behind OpenAI's format.
    `places` are where signatures can be, by words that are longer than the mark and found the
    faster for it. All of them have the `hint`: a byte is found soonest, and prose lacks it. `signs`
    tell a foreign signature. Before there were envelopes, thinking that no provider had signed had
    an empty signature, and Anthropic's blocks stood as JSON in OpenAI's place for its own.
    """

    field: str
    hint: bytes = b"_"
    places: tuple[bytes, ...]
    signs: tuple[bytes, ...]
    clean: Callable[[list[Any], str, bool], list[Any]]
    has_budgets: bool = False


_HISTORIES: Mapping[ClientFormat, _History] = {
    "chat": _History(
        field="messages",
        places=(b'"thinking_blocks"', b'"extra_content"'),
        signs=(MARK.encode(), b'"extra_content"', b'"thinking_blocks"'),
        clean=_clean_chat,
    ),
    "messages": _History(
        field="messages",
        hint=b"",
        places=(MARK.encode(), b'"signature"'),
        signs=(MARK.encode(), b'"signature":""', b'"signature": ""'),
        clean=_clean_messages,
        has_budgets=True,
    ),
    "responses": _History(
        field="input",
        places=(b'"encrypted_content"',),
        signs=(MARK.encode(), b'"encrypted_content":"[', b'"encrypted_content": "['),
        clean=_clean_items,
    ),
}
