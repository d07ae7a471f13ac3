"""Writes a stream of Anthropic's events for its clients."""

from typing import Any

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.formats.errors import anthropic_error
from services.gateway.formats.sse import frame
from services.gateway.upstream.translation.failures import error_of
from services.gateway.upstream.translation.messages.answer_writer import (
    broken,
    input_of,
    is_cut,
    message_id,
)
from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.messages.searches import citation_of, hosted_blocks
from services.gateway.upstream.translation.messages.stops import written_stop
from services.gateway.upstream.translation.messages.thoughts import (
    SEPARATOR,
    call_signature_block,
    redacted_block,
    signature_of,
)
from services.gateway.upstream.translation.messages.usage import written_usage
from services.gateway.upstream.translation.omissions import omission
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import AnswerContext, ReportedError, Stop
from services.gateway.upstream.translation.tools import Search

_TEXT, _REFUSAL, _THINKING, _CALL = "text", "refusal", "thinking", "call"
_EMPTY_TEXT = {"type": "text", "text": ""}
_PING = frame(b'{"type":"ping"}', event="ping")
_STOPPED = frame(b'{"type":"message_stop"}', event="message_stop")
_BLOCK_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
# What stands before and after a delta's text, as JSON.
_HEADS = {
    _TEXT: b'"delta":{"type":"text_delta","text":',
    _REFUSAL: b'"delta":{"type":"text_delta","text":',
    _THINKING: b'"delta":{"type":"thinking_delta","thinking":',
    _CALL: b'"delta":{"type":"input_json_delta","partial_json":',
}
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
_TAIL = b"}}\n\n"

_encode = msgspec.json.encode


class MessagesStreamWriter:
    """One block is open at a time; a block of thinking waits for its signature, which it needs."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._out: list[bytes] = []
        self._index = 0
        self._open: str | None = None
        self._head = b""
        # Thinking that is over, or empty, and may still be signed.
        self._waits = False
        self._is_hollow = False
        self._summary: int | None = None
        self._call_key = -1
        self._call_name = ""
        # Of the open block: the arguments of a call, or text that citations point into.
        self._deltas: list[str] = []
        self._kept_bytes = 0
        self._cites = any(type(tool) is Search for tool in context.request.tools)
        self._late_signatures: list[tuple[str, ThoughtSignature]] = []
        self._broken_call: str | None = None
        self._usage: TokenUsage | None = None
        self._stop: dict[str, Any] | None = None

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        message: dict[str, Any] = {
            "id": message_id(answer_id, self._context.created),
            "type": "message",
            "role": "assistant",
            "model": self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written_usage(None),
        }
        self._event("message_start", message=message)
        self._out.append(_PING)

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        if not delta:
            return
        if self._open != _TEXT:
            self._begin(_TEXT, _EMPTY_TEXT)
        self._out.append(self._head + _encode(delta) + _TAIL)
        if self._cites:
            self._keep(delta)

    def refusal(self, delta: str) -> None:
        """Text to Anthropic's clients, and no part of the text before it."""
        if not delta:
            return
        if self._open != _REFUSAL:
            self._begin(_REFUSAL, _EMPTY_TEXT)
        self._out.append(self._head + _encode(delta) + _TAIL)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        if not delta:
            if self._waits:
                self._close()
            self._is_hollow = self._open != _THINKING
            return
        if self._open != _THINKING or self._waits:
            self._begin(_THINKING, {"type": "thinking", "thinking": "", "signature": ""})
        elif summary != self._summary:
            delta = SEPARATOR + delta
        self._summary = summary
        self._out.append(self._head + _encode(delta) + _TAIL)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        if call_id is not None:
            self._sign_call(call_id, signature)
        elif self._open == _THINKING:
            self._sign(signature)
        elif self._is_hollow and signature.family == FAMILY:
            self._begin(_THINKING, {"type": "thinking", "thinking": "", "signature": ""})
            self._sign(signature)
        elif signature.data:
            self._write_block(redacted_block(signature))

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        if self._open != _CALL or key != self._call_key:
            _, name, _ = self._context.names.original(name)
            block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
            self._begin(_CALL, block)
            self._call_key, self._call_name = key, name
        if delta:
            self._out.append(self._head + _encode(delta) + _TAIL)
            self._keep(delta)

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        if self._open != _TEXT:
            return
        location = citation_of(citation, family, "".join(self._deltas))
        if location is not None:
            delta = {"type": "citations_delta", "citation": location}
            self._event("content_block_delta", index=self._index, delta=delta)

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        blocks = hosted_blocks(kind, raw, family)
        if not blocks:
            self._out.append(omission(self._context, kind, at))
        for block in blocks:
            self._write_block(block)

    def ended(self) -> None:
        if self._open == _THINKING:
            self._waits = True
        elif self._open in (_TEXT, _REFUSAL):
            self._close()

    def usage(self, usage: TokenUsage) -> None:
        self._usage = usage

    def stop(self, stop: Stop) -> None:
        """Raises AnswerBroken where a call cannot be read and was not cut off."""
        self._close()
        if self._broken_call is not None and not is_cut(stop.kind):
            raise broken(self._broken_call)
        self._stop = written_stop(stop, self._context.family)

    def failed(self, failure: ReportedError) -> None:
        error = anthropic_error(error_of(failure))
        self._out.append(frame(_encode({"type": "error", "error": error}), event="error"))

    def finish(self) -> None:
        if self._stop is None:
            return
        delta = dict(self._stop)
        members = {name: delta.pop(name) for name in ("context_management",) if name in delta}
        self._event("message_delta", delta=delta, usage=written_usage(self._usage), **members)
        self._out.append(_STOPPED)

    def take(self) -> bytes:
        output = b"".join(self._out)
        self._out.clear()
        return output

    def _begin(self, kind: str, block: Any) -> None:
        self._close()
        self._event("content_block_start", index=self._index, content_block=block)
        self._open = kind
        self._head = _DELTA % self._index + _HEADS[kind]

    def _close(self) -> None:
        kind, self._open = self._open, None
        self._is_hollow = self._waits = False
        self._summary = None
        if kind is None:
            return
        if kind == _THINKING:
            self._write_signature(None)
        elif kind == _CALL and self._is_kept() and input_of("".join(self._deltas)) is None:
            self._broken_call = self._broken_call or self._call_name
        self._end_block()
        self._deltas.clear()
        self._kept_bytes = 0
        while self._late_signatures:
            self._write_block(call_signature_block(*self._late_signatures.pop(0)))

    def _sign(self, signature: ThoughtSignature) -> None:
        self._write_signature(signature)
        self._end_block()
        self._open, self._waits, self._is_hollow = None, False, False

    def _write_signature(self, signature: ThoughtSignature | None) -> None:
        delta = {"type": "signature_delta", "signature": signature_of(signature)}
        self._event("content_block_delta", index=self._index, delta=delta)

    def _sign_call(self, call_id: str, signature: ThoughtSignature) -> None:
        """Before the call, or after it where the call has begun."""
        if self._open == _CALL:
            self._late_signatures.append((call_id, signature))
        else:
            self._write_block(call_signature_block(call_id, signature))

    def _write_block(self, block: Any) -> None:
        self._close()
        self._event("content_block_start", index=self._index, content_block=block)
        self._end_block()

    def _end_block(self) -> None:
        self._out.append(_BLOCK_STOP % self._index)
        self._index += 1

    def _keep(self, text: str) -> None:
        self._kept_bytes += len(text)
        if self._is_kept():
            self._deltas.append(text)

    def _is_kept(self) -> bool:
        return self._kept_bytes <= MAX_KEPT_BYTES

    def _event(self, kind: str, **members: Any) -> None:
        self._out.append(frame(_encode({"type": kind, **members}), event=kind))
