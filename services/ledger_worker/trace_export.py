"""Sends the spans of posted calls to a collector, by OTLP over HTTP, in a thread of their own.

Posting never waits for it: what the collector does not take in time is dropped and counted. Calls
come here once they are in the ledger, so one that is delivered again is not exported again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from queue import Empty, Full, Queue
from threading import Lock, Thread
from time import monotonic

import structlog

from libs.common.domain.traces import is_in_share, read_traceparent
from libs.common.schemas.entry import LedgerEntry
from services.ledger_worker.call_spans import Span, spans_of
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.settings import Settings

MAX_WAITING_CALLS = 4_000
_MAX_BATCH_CALLS = 256
# Calls are sent together that come within this time of one another.
_GATHER_S = 1.0
# How long the worker's end waits for what is still to be sent.
_CLOSE_S = 3.0

# Returns whether the collector has taken the spans.
SendSpans = Callable[[Sequence[Span]], bool]

log = structlog.get_logger(__name__)


class TraceExport:
    """Keeps to what the client's trace says of sampling; else exports a `share` (0 to 1) of calls.

    `offer` is called by the worker's one loop, all else by the thread. Each call that was offered
    is counted once, by the end of `close` at the latest.
    """

    def __init__(
        self,
        send: SendSpans,
        metrics: Metrics,
        *,
        share: float,
        max_waiting: int = MAX_WAITING_CALLS,
        gather_s: float = _GATHER_S,
    ) -> None:
        self._send = send
        self._metrics = metrics
        self._share = share
        self._gather_s = gather_s
        # None is the end.
        self._waiting: Queue[LedgerEntry | None] = Queue(max_waiting)
        self._is_failing = False
        # Calls that were taken and are not counted yet; none is after the end.
        self._uncounted = 0
        self._is_closed = False
        self._counting = Lock()
        self._thread = Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def offer(self, entries: Iterable[LedgerEntry]) -> None:
        """Entries that were added to the ledger. Never waits."""
        for entry in entries:
            if entry.kind != "call" or not self._is_sampled(entry):
                continue
            with self._counting:
                try:
                    self._waiting.put_nowait(entry)
                except Full:
                    self._metrics.traced_calls.labels("dropped").inc()
                else:
                    self._uncounted += 1

    def close(self, within_s: float = _CLOSE_S) -> None:
        """Sends what waits, and drops what is not sent in that time. Blocks; call it once."""
        ends_s = monotonic() + within_s
        with suppress(Full):
            self._waiting.put(None, timeout=within_s)
        self._thread.join(max(ends_s - monotonic(), 0.0))
        with self._counting:
            # Also those that are being sent: nobody waits for what becomes of them.
            self._is_closed, left = True, self._uncounted
        if left:
            self._metrics.traced_calls.labels("dropped").inc(left)
            log.warning("traces.unsent", calls=left)

    def _is_sampled(self, entry: LedgerEntry) -> bool:
        context = read_traceparent(entry.traceparent)
        return is_in_share(entry.entry_id, self._share) if context is None else context.sampled

    def _run(self) -> None:
        while True:
            calls, is_last = self._gather()
            if calls:
                self._export(calls)
            if is_last or self._is_closed:
                return

    def _gather(self) -> tuple[list[LedgerEntry], bool]:
        """Waits for a first call. The flag says that no more will come."""
        calls: list[LedgerEntry] = []
        ends_s: float | None = None
        while len(calls) < _MAX_BATCH_CALLS:
            try:
                call = self._waiting.get(timeout=_left_s(ends_s))
            except Empty:
                break
            if call is None:
                return calls, True
            calls.append(call)
            if ends_s is None:
                ends_s = monotonic() + self._gather_s
        return calls, False

    def _export(self, calls: Sequence[LedgerEntry]) -> None:
        try:
            is_taken = self._send([span for call in calls for span in spans_of(call)])
        except Exception as error:  # noqa: BLE001 - the thread must go on
            log.error("traces.failed", error=error)
            is_taken = False
        with self._counting:
            if self._is_closed:
                return
            self._uncounted -= len(calls)
            self._metrics.traced_calls.labels("exported" if is_taken else "failed").inc(len(calls))
        if is_taken == self._is_failing:
            # Once for each outage.
            self._is_failing = not is_taken
            if is_taken:
                log.warning("traces.available", calls=len(calls))
            else:
                log.warning("traces.unavailable", calls=len(calls))


@asynccontextmanager
async def open_trace_export(
    settings: Settings, metrics: Metrics
) -> AsyncIterator[TraceExport | None]:
    """None without a collector. On exit, waits a bounded time for what is still to be sent."""
    if not settings.otel_exporter_otlp_endpoint:
        yield None
        return
    # 15 MB and half a second, which a worker without a collector does not pay.
    from services.ledger_worker.otlp_sender import OtlpSender  # noqa: PLC0415

    sender = OtlpSender(settings.otel_exporter_otlp_endpoint, settings.otel_exporter_otlp_headers)
    export = TraceExport(sender.send, metrics, share=settings.otel_traces_sampler_arg)
    try:
        yield export
    finally:
        await asyncio.to_thread(export.close)
        sender.close()


def _left_s(ends_s: float | None) -> float | None:
    return None if ends_s is None else max(ends_s - monotonic(), 0.0)
