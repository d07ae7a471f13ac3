"""The blocks of a provider's stream, told to a sink as they come."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.upstream.translation.messages.answer_reader import (
    decode_block,
    is_said,
    own_part,
)
from services.gateway.upstream.translation.messages.wire import AnswerBlock, Delta
from services.gateway.upstream.translation.parts import Family, ThoughtSignature
from services.gateway.upstream.translation.reply import ReportedError, Sink

Raw = msgspec.Raw

_MAX_OPEN_BLOCKS = 256
_UNANNOUNCED = {"text_delta": "text", "thinking_delta": "thinking"}

_members = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_raw = msgspec.json.Decoder(Raw)
_encode = msgspec.json.encode


class Garbled(Exception):
    """The stream breaks the format's rules, and no part of it can be trusted any more."""

    def __init__(self, message: str, code: str = "upstream_garbled") -> None:
        super().__init__(message)
        self.failure = ReportedError(message=message, status=502, code=code)


class _Block:
    """One that is under way. `members` are those of a block that is told as a whole."""

    __slots__ = ("call", "citations", "has_deltas", "input", "kind", "members", "raw", "signature")

    def __init__(self, kind: str, raw: Raw) -> None:
        self.kind = kind
        self.raw = raw
        self.call: tuple[int, str, str] | None = None
        self.input = ""
        self.has_deltas = False
        self.signature = ""
        self.citations: list[Raw] = []
        self.members: dict[str, list[str]] = {}


class StreamBlocks:
    """Told apart by their index, which a server may use again for a later one."""

    def __init__(self, sink: Sink, family: Family) -> None:
        self.calls = 0
        self.has_begun = False
        self.has_output = False
        self._sink = sink
        self._family = family
        self._blocks: dict[int, _Block] = {}
        self._kept_bytes = 0

    def begin(self, index: int, raw: Raw) -> None:
        """Raises UpstreamFailed, or Garbled."""
        self.stop(index)
        if len(self._blocks) >= _MAX_OPEN_BLOCKS:
            raise Garbled("The provider began too many blocks at once.")
        answer_block = decode_block(raw)
        block = self._blocks[index] = _Block(answer_block.type, raw)
        self.has_begun = True
        match answer_block.type:
            case "text":
                self._begin_text(block, answer_block)
            case "thinking":
                block.signature = answer_block.signature or ""
                self._think(block, answer_block.thinking)
            case "redacted_thinking":
                self._sink.sign(ThoughtSignature(self._family, answer_block.data))
            case "tool_use":
                self._begin_call(block, answer_block)

    def add(self, index: int, delta: Delta) -> None:
        """What kind of a delta this version does not know is left out. Raises Garbled."""
        block = self._blocks.get(index)
        if block is None:
            block = self._begin_unannounced(index, delta)
        add = self._add.get(delta.type)
        if block is not None and add is not None:
            add(self, block, delta)

    def stop(self, index: int) -> None:
        """Handles a block's end: members that need the whole block, and the end of its text."""
        block = self._blocks.pop(index, None)
        if block is None:
            return
        match block.kind:
            case "text":
                for citation in block.citations:
                    self._sink.cite(citation, self._family)
                self._sink.ended()
            case "thinking":
                self._end_thinking(block)
            case "redacted_thinking":
                self._sink.ended()
            case "tool_use":
                if block.call is not None and not block.has_deltas:
                    self._sink.call(*block.call, block.input, False)
            case _:
                self._write_own_part(block, index)

    def stop_all(self) -> None:
        for index in sorted(self._blocks):
            self.stop(index)

    def _begin_unannounced(self, index: int, delta: Delta) -> _Block | None:
        """Some servers send text without saying that a block of it begins."""
        if delta.type == "input_json_delta":
            raise Garbled("The provider sent arguments of a call that had not begun.")
        kind = _UNANNOUNCED.get(delta.type)
        if kind is not None:
            self.begin(index, Raw(b'{"type":"%b"}' % kind.encode()))
        return self._blocks.get(index)

    def _begin_text(self, block: _Block, answer_block: AnswerBlock) -> None:
        self._say(answer_block.text)
        if is_said(answer_block.citations):
            try:
                block.citations += _list.decode(answer_block.citations)
            except UNREADABLE:
                return

    def _begin_call(self, block: _Block, answer_block: AnswerBlock) -> None:
        """Servers that send no deltas give the whole input at the beginning."""
        arguments = bytes(answer_block.input).decode(errors="replace").strip()
        block.input = arguments if arguments not in ("", "null") else "{}"
        block.call = (self.calls, answer_block.id, answer_block.name)
        self.calls += 1
        self.has_output = True
        self._sink.call(*block.call, "", False)

    def _add_text(self, _: _Block, delta: Delta) -> None:
        self._say(delta.text)

    def _say(self, text: str | None) -> None:
        if text:
            self.has_output = True
            self._sink.text(text)

    def _add_thinking(self, block: _Block, delta: Delta) -> None:
        self._think(block, delta.thinking)

    def _add_signature(self, block: _Block, delta: Delta) -> None:
        block.signature += delta.signature or ""

    def _add_citation(self, block: _Block, delta: Delta) -> None:
        self._keep(len(delta.citation))
        block.citations.append(delta.citation)

    def _add_compaction(self, block: _Block, delta: Delta) -> None:
        if is_said(delta.content):
            self._keep(len(delta.content))
            block.members["content"] = [bytes(delta.content).decode(errors="replace")]

    def _add_input(self, block: _Block, delta: Delta) -> None:
        if not delta.partial_json:
            return
        block.has_deltas = True
        if block.call is not None:
            self._sink.call(*block.call, delta.partial_json, False)
            return
        self._keep(len(delta.partial_json))
        block.members.setdefault("input", []).append(delta.partial_json)

    def _think(self, block: _Block, text: str | None) -> None:
        if text:
            block.has_deltas = self.has_output = True
            self._sink.thinking(text)

    def _end_thinking(self, block: _Block) -> None:
        if block.signature:
            if not block.has_deltas:
                # Thinking that is not shown, which is not the same as a redacted thought.
                self._sink.thinking("")
            self._sink.sign(ThoughtSignature(self._family, block.signature))
        self._sink.ended()

    def _write_own_part(self, block: _Block, index: int) -> None:
        self.has_output = True
        raw = block.raw
        if block.members:
            members: dict[str, Any] = _members.decode(raw)
            members |= {name: _json("".join(texts)) for name, texts in block.members.items()}
            raw = Raw(_encode(members))
        part = own_part(decode_block(raw), raw, self._family, index)
        self._sink.hosted(part.kind, part.raw, part.family, index)

    def _keep(self, size: int) -> None:
        self._kept_bytes += size
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise Garbled("The provider sent a block that is too large.", "upstream_unreadable")

    # Of the class: bound methods in an instance would keep the stream until a collection.
    _add: ClassVar[Mapping[str, Callable[["StreamBlocks", _Block, Delta], None]]] = {
        "text_delta": _add_text,
        "input_json_delta": _add_input,
        "thinking_delta": _add_thinking,
        "signature_delta": _add_signature,
        "citations_delta": _add_citation,
        "compaction_delta": _add_compaction,
    }


def _json(text: str) -> Raw:
    """As it is, or as a string where it is not JSON."""
    try:
        return _raw.decode(text)
    except UNREADABLE:
        return Raw(_encode(text))
