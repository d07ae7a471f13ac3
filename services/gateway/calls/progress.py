"""What has come of the answer to a call."""

from time import perf_counter

import msgspec

from libs.common.schemas.usage import MAX_OBJECT_ID_CHARS, MAX_OBJECTS
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import Call
from services.gateway.formats.base import NO_OBJECTS, MadeObjects


class AnswerProgress(msgspec.Struct):
    """What has come of an answer so far, for the call's event, whenever the call ends.

    Whoever reads the answer writes it. `granted` are ids of the operator's objects that an
    administrator allows the caller to name; `stream_overhead_ms` is the gateway's own time until a
    stream began, after which all takes as long as the provider streams.
    """

    provider_request_id: str | None = None
    granted: frozenset[str] = frozenset()
    made: MadeObjects = NO_OBJECTS
    first_byte_ms: int | None = None
    stream_overhead_ms: float | None = None

    def overhead_ms(self, call: Call, attempts: Attempts) -> float:
        """The gateway's own time: until a stream began, else so far, but for that of the tries."""
        if self.stream_overhead_ms is not None:
            return self.stream_overhead_ms
        began_s, ended_s = attempts.began_s, attempts.ended_s
        if began_s is None:
            own_s = perf_counter() - call.started_s
        elif ended_s is None:
            own_s = began_s - call.started_s
        else:
            own_s = began_s - call.started_s + perf_counter() - ended_s
        return int(own_s * 1_000_000) / 1000

    def objects(self) -> tuple[str, ...]:
        """Objects that the call made. Those that it was granted still belong to the operator."""
        ids = (i for i in self.made.objects if len(i) <= MAX_OBJECT_ID_CHARS)
        return tuple(i for i in dict.fromkeys(ids) if i not in self.granted)[:MAX_OBJECTS]
