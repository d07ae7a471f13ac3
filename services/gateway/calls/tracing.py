"""The trace context that a client sends (W3C's `traceparent` and `tracestate`), and what goes on.

A provider never gets the client's own headers: the context is read, and written anew with the span
of the attempt. What is not well-formed counts as if it were not there, and refuses no call.
"""

import re

import msgspec

from libs.common.domain.traces import TraceContext, read_traceparent, span_id_of
from services.gateway.calls.headers import Headers

_TRACEPARENT = b"traceparent"
_TRACESTATE = b"tracestate"
_MAX_STATE = 512
_MAX_MEMBERS = 32
_NAME = rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = rb"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(_NAME + rb"=" + _VALUE)


class Tracing(msgspec.Struct, frozen=True):
    """A client's trace context; `state` is what its vendors keep there, empty if there is none."""

    context: TraceContext
    state: bytes

    def attempt_headers(self, call_id: str, attempt: int) -> Headers:
        """For the provider."""
        headers = [(_TRACEPARENT, self._in_span(span_id_of(call_id, attempt)))]
        if self.state:
            headers.append((_TRACESTATE, self.state))
        return headers

    def answer_headers(self, call_id: str) -> Headers:
        """For the client, as W3C's draft of `traceresponse` has it."""
        return [(b"traceresponse", self._in_span(span_id_of(call_id)))]

    @property
    def received(self) -> str:
        """The client's own `traceparent`, as far as it was read."""
        return self.context.traceparent(self.context.parent_id)

    def _in_span(self, span_id: str) -> bytes:
        return self.context.traceparent(span_id).encode()


def tracing_of(headers: Headers) -> Tracing | None:
    values = [value for name, value in headers if name == _TRACEPARENT]
    if not values:
        return None
    # Two of them name no one parent.
    context = read_traceparent(values[0].decode("latin-1")) if len(values) == 1 else None
    return None if context is None else Tracing(context, _state_of(headers))


def _state_of(headers: Headers) -> bytes:
    """Empty unless all of it is well-formed."""
    state = b",".join([value for name, value in headers if name == _TRACESTATE])
    if not state or len(state) > _MAX_STATE:
        return b""
    members = [member for part in state.split(b",") if (member := part.strip(b" \t"))]
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return b""
    return b",".join(members)
