"""Writes a call's one usage event, however the call ends.

The event's way to the ledger: `UsageEventWriter.write` (which makes it by `event_of`),
`Meter.enqueue`, `GroupCommit.commit` of its `ShardMeter`, the job `events.post`; then
`Admissions.close_call`.
"""

from functools import lru_cache

from libs.common.domain.call_cost import call_tokens
from libs.common.errors import AnswerWithheld
from libs.common.schemas.holds import Finished
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageSource
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.call_hold import CallHold
from services.gateway.calls.attempts import Attempts
from services.gateway.calls.call import Call
from services.gateway.calls.event import event_of
from services.gateway.calls.progress import AnswerProgress
from services.gateway.formats.base import CallRequest
from services.gateway.metrics import CALL_SECONDS, CALLS
from services.gateway.spool.backlog import Metered
from services.gateway.usage.meter import Meter

# Looking up a metric's child costs more than counting.
_calls = lru_cache(maxsize=1_000)(CALLS.labels)
_call_seconds = lru_cache(maxsize=100)(CALL_SECONDS.labels)


class UsageEventWriter:
    """The event of one call, which has one: later writes are ignored.

    What a call has come to can be lost to no error and no cancellation, so the stages leave here
    what the event is made of: `request` and `tags`, the dispatcher's `attempts`, the `progress`.
    """

    __slots__ = (
        "_hold_of",
        "_is_written",
        "_meter",
        "attempts",
        "call",
        "cost_nusd",
        "is_waiting",
        "progress",
        "request",
        "tags",
    )

    def __init__(self, call: Call, admissions: Admissions, meter: Meter) -> None:
        self.call = call
        self._hold_of = admissions.hold_of
        self._meter = meter
        self._is_written = False
        self.request: CallRequest | None = None
        self.tags: tuple[str, ...] = ()
        self.attempts = Attempts()
        self.progress = AnswerProgress()
        # The cost of the written event.
        self.cost_nusd = 0
        # Whether the meter is still trying to write the event, and will close the call.
        self.is_waiting = False

    def hold(self) -> CallHold | None:
        """None before the call is admitted."""
        return self._hold_of(self.call.call_id)

    async def write(
        self,
        status: CallStatus,
        http_status: int,
        *,
        usage: TokenUsage | None = None,
        usage_source: UsageSource = "none",
        error_code: str | None = None,
    ) -> None:
        """Returns when the event is durable.

        Raises AnswerWithheld if that takes too long; the meter then writes the event when it can,
        and closes the call.
        """
        if self._is_written:
            return
        call = self.call
        metered = self._metered(status, http_status, usage, usage_source, error_code)
        _calls(call.format.name, status, http_status).inc()
        _call_seconds(call.format.name).observe(call.elapsed_ms() / 1000)
        # If the caller is cancelled while it waits, the event stays in its batch.
        self._is_written = True
        try:
            await self._meter.enqueue(metered)
        except AnswerWithheld:
            self.is_waiting = True
            raise
        except Exception:
            self._is_written = False
            raise

    def write_nowait(self, usage: TokenUsage | None, usage_source: UsageSource) -> None:
        """For a call that is being cancelled."""
        if not self._is_written:
            metered = self._metered("upstream_error", 503, usage, usage_source, "gateway_stopped")
            self._meter.enqueue_nowait(metered)

    def _metered(
        self,
        status: CallStatus,
        http_status: int,
        usage: TokenUsage | None,
        usage_source: UsageSource,
        error_code: str | None,
    ) -> Metered:
        hold = self.hold()
        event = event_of(
            self.call,
            self.request,
            self.tags,
            self.attempts,
            self.progress,
            status,
            http_status,
            usage=usage,
            usage_source=usage_source,
            error_code=error_code,
            held_nusd=0 if hold is None else hold.nusd,
        )
        return Metered(event, None if hold is None else self._finished(hold, event.usage))

    def _finished(self, hold: CallHold, usage: TokenUsage | None) -> Finished:
        call, target = self.call, self.attempts.target
        account, key = call.principal.account, call.principal.key
        self.cost_nusd = 0
        if usage is not None and target is not None:
            multiplier = account.price_multiplier
            self.cost_nusd = hold.priced.cost_nusd(target, usage, multiplier, call.started_at)
        return Finished(
            user_id=account.user_id,
            call_id=call.call_id,
            key_id=key.key_id if key.budgets else None,
            cost_nusd=self.cost_nusd,
            tokens=None if usage is None else call_tokens(usage),
        )
