"""Writes a call's one usage event, however the call ends.

The event's way to the ledger: `UsageEventWriter.write`, `Meter.enqueue`, `GroupCommit.commit`, the
job `events.post`; then `Admissions.close_call`.
"""

from functools import lru_cache

from libs.common.domain.call_cost import call_tokens
from libs.common.errors import AnswerWithheld
from libs.common.schemas.holds import Finished
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageEvent, UsageSource
from services.gateway.admission.admissions import Admissions
from services.gateway.admission.call_hold import CallHold
from services.gateway.calls.call import Call
from services.gateway.calls.principal import Principal
from services.gateway.metrics import CALL_SECONDS, CALLS
from services.gateway.spool.backlog import Metered
from services.gateway.usage.meter import Meter

# Looking up a metric's child costs more than counting.
_calls = lru_cache(maxsize=1_000)(CALLS.labels)
_call_seconds = lru_cache(maxsize=100)(CALL_SECONDS.labels)


class UsageEventWriter:
    """The event of one authenticated call. A call has one: later writes are ignored."""

    __slots__ = (
        "_admissions",
        "_call",
        "_is_written",
        "_meter",
        "_principal",
        "cost_nusd",
        "is_waiting",
    )

    def __init__(
        self, call: Call, principal: Principal, admissions: Admissions, meter: Meter
    ) -> None:
        self._call = call
        self._principal = principal
        self._admissions = admissions
        self._meter = meter
        self._is_written = False
        # The cost of the written event.
        self.cost_nusd = 0
        # Whether the meter is still trying to write the event, and will close the call.
        self.is_waiting = False

    @property
    def hold(self) -> CallHold | None:
        """None before the call is admitted."""
        return self._admissions.hold_of(self._call.call_id)

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
        call, hold = self._call, self.hold
        event = call.event(
            self._principal,
            status,
            http_status,
            usage=usage,
            usage_source=usage_source,
            error_code=error_code,
            held_nusd=0 if hold is None else hold.nusd,
        )
        _calls(call.format.name, status, http_status).inc()
        _call_seconds(call.format.name).observe(call.elapsed_ms() / 1000)
        # If the caller is cancelled while it waits, the event stays in its batch.
        self._is_written = True
        try:
            await self._meter.enqueue(self._metered(event, hold))
        except AnswerWithheld:
            self.is_waiting = True
            raise
        except Exception:
            self._is_written = False
            raise

    def write_nowait(self, usage: TokenUsage | None, usage_source: UsageSource) -> None:
        """For a call that is being cancelled."""
        if self._is_written:
            return
        hold = self.hold
        event = self._call.event(
            self._principal,
            "upstream_error",
            503,
            usage=usage,
            usage_source=usage_source,
            error_code="gateway_stopped",
            held_nusd=0 if hold is None else hold.nusd,
        )
        self._meter.enqueue_nowait(self._metered(event, hold))

    def _metered(self, event: UsageEvent, hold: CallHold | None) -> Metered:
        """`finished` only for a call that holds something."""
        call, key, usage = self._call, self._principal.key, event.usage
        if hold is None:
            return Metered(event, None)
        self.cost_nusd = 0
        if usage is not None and call.target is not None:
            multiplier = self._principal.account.price_multiplier
            cost = hold.priced.cost_nusd(call.target, usage, multiplier, call.started_at)
            self.cost_nusd = cost
        finished = Finished(
            user_id=event.user_id,
            call_id=event.call_id,
            key_id=key.key_id if key.budgets else None,
            cost_nusd=self.cost_nusd,
            tokens=None if usage is None else call_tokens(usage),
        )
        return Metered(event, finished)
