"""The calls of a provider's stream, put together from their deltas.

A call is known by its index; but some servers number all calls 0, and tell them apart by their
ids, and some give no index at all. What of a call comes before its id and name waits for them.
"""

from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.upstream.translation.chat import answer_wire
from services.gateway.upstream.translation.chat.answer_reader import (
    arguments_text,
    call_signature,
    minted_id,
)
from services.gateway.upstream.translation.chat.family import split_id
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import Sink

_MAX_CALLS = 256


class _OpenCall:
    __slots__ = (
        "buffer",
        "call_id",
        "has_begun",
        "has_said",
        "is_freeform",
        "key",
        "name",
        "signature",
    )

    def __init__(self, key: int) -> None:
        self.key = key
        self.call_id = ""
        self.name = ""
        self.is_freeform = False
        self.has_begun = False
        self.has_said = False
        self.signature: ThoughtSignature | None = None
        self.buffer = ""


class StreamCalls:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._calls: list[_OpenCall] = []
        # The call that an index, or an id without one, was last used for.
        self._by_index: dict[int, _OpenCall] = {}
        self._by_id: dict[str, _OpenCall] = {}

    def read(self, call_delta: answer_wire.AnswerCall) -> bool:
        """Whether it is not more than is kept."""
        call = self._call_of(call_delta)
        if call is None:
            return False
        if call_delta.id and not call.call_id:
            call.call_id, call.signature = split_id(call_delta.id)
        call.signature = call_signature(call_delta) or call.signature
        delta = ""
        if call_delta.custom is not None:
            call.is_freeform = True
            call.name = call.name or call_delta.custom.name
            delta = call_delta.custom.input or ""
        elif call_delta.function is not None:
            call.name = call.name or call_delta.function.name or ""
            delta = arguments_text(call_delta.function.arguments)
        if not call.has_begun and not (call.call_id and call.name):
            call.buffer += delta
            return len(call.buffer) <= MAX_KEPT_BYTES
        self._tell(call, delta)
        return True

    def finish(self, answer_id: str) -> bool:
        """Calls whose id has not come get one; those without arguments an empty object.

        Whether there is any call.
        """
        for call in self._calls:
            call.call_id = call.call_id or minted_id(answer_id, call.key)
            if not call.has_begun or not (call.has_said or call.is_freeform):
                self._tell(call, "" if call.buffer or call.is_freeform else "{}")
        return bool(self._calls)

    def _call_of(self, call_delta: answer_wire.AnswerCall) -> _OpenCall | None:
        if call_delta.index is None:
            if call_delta.id:
                return self._by_id.get(call_delta.id) or self._new_call(call_delta)
            return self._calls[-1] if self._calls else self._new_call(call_delta)
        call = self._by_index.get(call_delta.index)
        if call is None:
            return self._new_call(call_delta)
        is_other = call_delta.id and call.call_id and split_id(call_delta.id)[0] != call.call_id
        if is_other and call_delta.function is not None and call_delta.function.name:
            return self._by_id.get(call_delta.id or "") or self._new_call(call_delta)
        return call

    def _new_call(self, call_delta: answer_wire.AnswerCall) -> _OpenCall | None:
        if len(self._calls) >= _MAX_CALLS:
            return None
        call = _OpenCall(len(self._calls))
        self._calls.append(call)
        if call_delta.index is not None:
            self._by_index[call_delta.index] = call
        if call_delta.id:
            self._by_id[call_delta.id] = call
        return call

    def _tell(self, call: _OpenCall, delta: str) -> None:
        if not call.has_begun:
            call.has_begun = True
            delta, call.buffer = call.buffer + delta, ""
        call.has_said = call.has_said or bool(delta)
        if call.signature is not None:
            # Before the call, so that formats which have no place within it may say so first.
            self._sink.sign(call.signature, call.call_id)
            call.signature = None
        self._sink.call(call.key, call.call_id, call.name, delta, call.is_freeform)
