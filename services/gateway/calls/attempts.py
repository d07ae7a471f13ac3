"""The tries of a call's deployments."""

import msgspec

from libs.common.schemas.usage import MAX_FAILED_ATTEMPTS, FailedAttempt
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.target import Target
from services.gateway.formats.base import CallRequest


class Attempt(msgspec.Struct, frozen=True):
    """One try of one deployment. `headers` are the client's; `number` counts from 1."""

    call: Call
    request: CallRequest
    target: Target
    headers: Headers
    number: int = 1

    def trace_headers(self) -> Headers:
        """The trace context for the provider; empty where the client sent none."""
        call = self.call
        if call.tracing is None:
            return []
        return call.tracing.attempt_headers(call.call_id, self.number)


class Attempts(msgspec.Struct):
    """What the tries of one call have come to so far, for its event, whenever the call ends.

    The endpoint names the first `target`; from then on the dispatcher writes, and `target` is the
    one that is tried or was tried last. `count` has the tries that asked a provider. The times are
    perf_counter's: when the first try began and the last one ended (None where an error or a
    cancellation did that), and when the provider was asked whose answer is neither there nor given
    up.
    """

    target: Target | None = None
    count: int = 0
    failed: tuple[FailedAttempt, ...] = ()
    began_s: float | None = None
    ended_s: float | None = None
    asked_s: float | None = None

    def fail(self, attempt: FailedAttempt) -> None:
        self.asked_s = None
        if len(self.failed) < MAX_FAILED_ATTEMPTS:
            self.failed = (*self.failed, attempt)

    def asked_after_ms(self, call: Call) -> int | None:
        """From the call's start to that of the try that has not failed; None without one."""
        return None if self.asked_s is None else int((self.asked_s - call.started_s) * 1000)
