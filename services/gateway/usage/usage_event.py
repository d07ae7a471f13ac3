"""Writes a call's one usage event, however the call ends."""

from functools import lru_cache

from libs.common.domain.pricing import total_tokens
from libs.common.errors import AnswerWithheld
from libs.common.schemas.holds import Finished
from libs.common.schemas.usage import CallStatus, TokenUsage, UsageEvent, UsageSource
from services.gateway.calls.call import Call
from services.gateway.calls.principal import Principal
from services.gateway.metrics import CALL_SECONDS, CALLS
from services.gateway.spool.backlog import Metered
from services.gateway.usage.meter import Meter

# Finding a metric's child costs more than counting.
_calls = lru_cache(maxsize=1_000)(CALLS.labels)
_call_seconds = lru_cache(maxsize=100)(CALL_SECONDS.labels)


class Recorder:
    """Of one call, whose caller is known."""

    __slots__ = ("_call", "_handed_in", "_meter", "_principal", "is_waiting")

    def __init__(self, call: Call, principal: Principal, meter: Meter) -> None:
        self._call = call
        self._principal = principal
        self._meter = meter
        self._handed_in = False
        # Whether the event is to be written once something takes it.
        self.is_waiting = False

    async def commit(
        self,
        status: CallStatus,
        http_status: int,
        *,
        usage: TokenUsage | None = None,
        usage_source: UsageSource = "none",
        error_code: str | None = None,
    ) -> None:
        """Returns when the event is durable. Raises AnswerWithheld where that takes too long; the
        meter writes it then when it can, and closes the call.

        A call has one event: what happens to it after that was committed changes nothing.
        """
        if self._handed_in:
            return
        call = self._call
        event = call.event(
            self._principal,
            status,
            http_status,
            usage=usage,
            usage_source=usage_source,
            error_code=error_code,
        )
        _calls(call.format.name, status, http_status).inc()
        _call_seconds(call.format.name).observe(call.elapsed_ms() / 1000)
        # A caller that is cancelled while it waits leaves the event in its batch.
        self._handed_in = True
        try:
            await self._meter.commit(self._metered(event, usage))
        except AnswerWithheld:
            self.is_waiting = True
            raise
        except Exception:
            self._handed_in = False
            raise

    def hand_in(self, usage: TokenUsage | None, usage_source: UsageSource) -> None:
        """For a call that is being cancelled, unless its event is on its way already."""
        if self._handed_in:
            return
        event = self._call.event(
            self._principal,
            "upstream_error",
            503,
            usage=usage,
            usage_source=usage_source,
            error_code="gateway_stopped",
        )
        self._meter.hand_in(self._metered(event, usage))

    def _metered(self, event: UsageEvent, usage: TokenUsage | None) -> Metered:
        call, key = self._call, self._principal.key
        if call.held_nusd is None:
            return Metered(event, None)
        finished = Finished(
            user_id=event.user_id,
            call_id=event.call_id,
            key_id=key.key_id if key.budgets else None,
            cost_nusd=call.charge(usage),
            tokens=None if usage is None else total_tokens(usage),
        )
        return Metered(event, finished)
