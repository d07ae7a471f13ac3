"""Trace contexts (W3C), and the ids of a call's spans.

Nothing is minted: a call that belongs to no trace has its own id as that of its trace, and its
spans' ids are made of the call's id, so the gateway and the worker know the same ones.
"""

import re

import msgspec

# Version, trace, span and flags. Of a later version, what may follow is not read.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_MAX_TRACEPARENT = 256
_SAMPLED = 1
# The random part of a UUIDv7 that ends it, and that W3C's level 2 samples by.
_RANDOM_BITS = 56
# Attempts of one call have ids of their own up to this number.
MAX_ATTEMPTS = 15


class TraceContext(msgspec.Struct, frozen=True):
    """A call's trace: its `trace_id`, the parent span, and whether the trace is sampled."""

    trace_id: str
    parent_id: str
    sampled: bool

    def traceparent(self, span_id: str) -> str:
        """The context for work within that span."""
        return f"00-{self.trace_id}-{span_id}-{self.sampled:02x}"


def read_traceparent(text: str | None) -> TraceContext | None:
    """None for a malformed header, which the standard says to ignore."""
    if text is None:
        return None
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _MAX_TRACEPARENT else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == "00" and rest is not None:
        return None
    if not (trace_id.strip("0") and parent_id.strip("0")):
        return None
    return TraceContext(trace_id, parent_id, sampled=bool(int(flags, 16) & _SAMPLED))


def trace_id_of(call_id: str) -> str:
    """The trace of a call that came without one: its id, a UUID, without the hyphens."""
    return call_id.replace("-", "")


def trace_of(call_id: str, traceparent: str | None) -> str:
    """The trace of a call, by the `traceparent` that its event has."""
    context = read_traceparent(traceparent)
    return trace_id_of(call_id) if context is None else context.trace_id


def call_id_of(trace_id: str) -> str | None:
    """The inverse of `trace_id_of`; None for what is not a trace's id."""
    if not _TRACE_ID.fullmatch(trace_id):
        return None
    parts = (trace_id[:8], trace_id[8:12], trace_id[12:16], trace_id[16:20], trace_id[20:])
    return "-".join(parts)


def span_id_of(call_id: str, attempt: int = 0) -> str:
    """That of the call's own span, or of its attempt from 1; never zero, as a UUID has a variant.

    It is the end of the call's id, whose last digit is changed by the attempt's number.
    """
    end = trace_id_of(call_id)[16:]
    return f"{end[:-1]}{int(end[-1], 16) ^ (attempt & MAX_ATTEMPTS):x}"


def is_in_share(call_id: str, share: float) -> bool:
    """Whether a call is in a share (0 to 1) of all: the same answer wherever it is asked."""
    random = int(trace_id_of(call_id)[-(_RANDOM_BITS // 4) :], 16)
    return random < share * float(2**_RANDOM_BITS)
