"""Orders a stream's parts, whatever order a provider sends them in."""

from collections import deque
from collections.abc import Callable

import msgspec

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import ReportedError, Sink, Stop

_MAX_CALLS = 256
_TOO_MUCH = ReportedError(
    message="The provider sent more interleaved tool calls than can be put in order.",
    status=502,
    code="upstream_unreadable",
)
_GARBLED = ReportedError(
    message="The provider went on with a tool call after it had begun another one.",
    status=502,
    code="upstream_unreadable",
)


class _Call:
    """A call that has begun; what of it has come while another part was open."""

    __slots__ = ("arguments", "call_id", "deltas", "has_more", "is_freeform", "name")

    def __init__(self, call_id: str, name: str, is_freeform: bool) -> None:
        self.call_id = call_id
        self.name = name
        self.is_freeform = is_freeform
        self.deltas: list[str] = []
        # All that has come, to tell whether the arguments are whole.
        self.arguments: list[str] = []
        # Since it was last asked whether they are.
        self.has_more = True


class Sequencer:
    """A sink before a writer: one part is open at a time, and what is closed stays closed.

    Parts begin in the order of their first delta. A call is over once its arguments are one whole
    JSON value; until then what comes of other parts waits. So a stream that sends its parts one by
    one passes unhindered.
    """

    def __init__(
        self, sink: Sink, reword: Callable[[ReportedError], ReportedError] = lambda f: f
    ) -> None:
        """`reword` puts a failure in the words that the client's family has for it."""
        self._sink = sink
        self._reword = reword
        self.failure: ReportedError | None = None
        self.stopped: Stop | None = None
        self.used: TokenUsage | None = None
        self._calls: dict[int, _Call] = {}
        self._ended_keys: set[int] = set()
        self._open_key: int | None = None
        # Calls, and other parts as (method, arguments), that wait for the open call.
        self._queue: deque[int | tuple[str, tuple[object, ...]]] = deque()
        self._kept_bytes = 0

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        self._sink.started(answer_id, model, created)

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        if self._open_key is None or self._may_pass():
            self._sink.text(delta, logprobs)
        else:
            self._wait("text", delta, logprobs)

    def refusal(self, delta: str) -> None:
        if self._may_pass():
            self._sink.refusal(delta)
        else:
            self._wait("refusal", delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        if self._open_key is None or self._may_pass():
            self._sink.thinking(delta, summary)
        else:
            self._wait("thinking", delta, summary)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        if call_id is not None or self._may_pass():
            self._sink.sign(signature, call_id)
        else:
            self._wait("sign", signature)

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        if self._may_pass():
            self._sink.cite(citation, family)
        else:
            self._wait("cite", citation, family)

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        if self._may_pass():
            self._sink.hosted(kind, raw, family, at)
        else:
            self._wait("hosted", kind, raw, family, at)

    def ended(self) -> None:
        if self._may_pass():
            self._sink.ended()

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        call = self._calls.get(key)
        if call is None:
            if len(self._calls) >= _MAX_CALLS:
                self.failed(_TOO_MUCH)
                return
            call = self._calls[key] = _Call(call_id, name, is_freeform)
            if not self._may_pass():
                self._queue.append(key)
            else:
                self._open_key = key
        if key in self._ended_keys:
            if is_freeform and delta:
                self.failed(_GARBLED)
            # More of a call that was whole: servers that repeat the arguments at its end.
            return
        if self._open_key != key:
            self._advance()
        if not delta and call.arguments:
            return
        call.arguments.append(delta)
        call.has_more = True
        self._keep(len(delta))
        if self.failure is not None:
            return
        if self._open_key == key:
            self._sink.call(key, call.call_id, call.name, delta, call.is_freeform)
        else:
            call.deltas.append(delta)

    def usage(self, usage: TokenUsage) -> None:
        self.used = usage
        self._sink.usage(usage)

    def stop(self, stop: Stop) -> None:
        if self.failure is not None:
            return
        self._flush()
        self.stopped = stop
        self._sink.stop(stop)

    def failed(self, failure: ReportedError) -> None:
        if self.failure is None:
            self.failure = failure
            self._sink.failed(self._reword(failure))

    def _may_pass(self) -> bool:
        """Whether no call is open, after what waits has been written as far as it can be."""
        if self._open_key is None:
            return True
        if self.failure is not None:
            return False
        self._advance()
        return self._open_key is None

    def _advance(self) -> None:
        while self._open_key is not None and self._is_whole(self._calls[self._open_key]):
            self._ended_keys.add(self._open_key)
            self._calls[self._open_key].arguments.clear()
            self._open_key = None
            self._write_next()

    def _write_next(self) -> None:
        """Writes what waits up to the next call that is not whole."""
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, tuple):
                method, arguments = entry
                getattr(self._sink, method)(*arguments)
                continue
            self._open_key = entry
            self._write_deltas(entry)
            return

    def _write_deltas(self, key: int) -> None:
        call = self._calls[key]
        for delta in call.deltas:
            self._sink.call(key, call.call_id, call.name, delta, call.is_freeform)
        call.deltas.clear()

    def _flush(self) -> None:
        """At the end there is no more to wait for."""
        while self._open_key is not None:
            self._ended_keys.add(self._open_key)
            self._open_key = None
            self._write_next()

    def _wait(self, method: str, *arguments: object) -> None:
        if self.failure is not None:
            return
        self._keep(len(str(arguments[0])))
        self._queue.append((method, arguments))

    def _keep(self, size: int) -> None:
        self._kept_bytes += size
        if self._kept_bytes > MAX_KEPT_BYTES:
            self.failed(_TOO_MUCH)

    @staticmethod
    def _is_whole(call: _Call) -> bool:
        """A freeform input has no end of its own: it is over when something else begins."""
        if call.is_freeform:
            return True
        if not call.has_more:
            return False
        call.has_more = False
        text = "".join(call.arguments).strip()
        if not text.endswith("}"):
            return False
        call.arguments[:] = [text]
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False
        return True
