"""Records the calls of keys with recording on: best effort, and never at the cost of the call.

A capture keeps references to the bytes of its call. After the call, when its event is durable and
its answer sent, the capture is offered here; a thread makes a recording of it, which goes to the
ledger worker as a job. A capture that cannot be kept is dropped and counted: a call neither waits
for its recording nor fails with it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from math import inf
from time import monotonic
from uuid import uuid4

import structlog
from starlette.types import Message, Receive, Send

from libs.common.breaker import Breaker
from libs.common.group_commit import GroupCommit
from libs.common.schemas.recording import Recording
from libs.common.storage.queue.recordings import RecordingQueue, pack
from libs.common.storage.redis.client import RedisError
from services.gateway.calls.call import Call
from services.gateway.metrics import RECORDINGS
from services.gateway.recordings.transcript import transcribe

log = structlog.get_logger(__name__)
# Attachments are removed before a side is cut to its bound, so more bytes than the bound are kept.
_MAX_RAW_FACTOR = 8
_MAX_BATCH = 64
_MAX_WAITING = 1_000
_MAX_WAITING_BYTES = 32 * 1024 * 1024
# Recordings are not urgent, and one job for many costs Redis and the worker far less.
_PAUSE_S = 0.5
_LOG_EVERY_S = 10.0
# How long `close` may send waiting captures.
_CLOSE_S = 5.0


class _Side:
    """The first bytes of the request or of the answer."""

    __slots__ = ("_kept_bytes", "_parts", "max_bytes", "size")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._kept_bytes = 0
        self.size = 0

    def add(self, part: bytes) -> None:
        self.size += len(part)
        if self._kept_bytes < self.max_bytes:
            head = part[: self.max_bytes - self._kept_bytes]
            self._parts.append(head)
            self._kept_bytes += len(head)

    def raw(self) -> bytes:
        return b"".join(self._parts)

    @property
    def kept(self) -> int:
        return self._kept_bytes


class CallCapture:
    """The first bytes of a call's request and answer."""

    __slots__ = ("answer", "call", "is_stream", "model", "request", "status")

    def __init__(self, call: Call, max_raw_bytes: int) -> None:
        self.call = call
        # As the request says, once it has been read.
        self.model: str | None = None
        self.is_stream = False
        self.request = _Side(max_raw_bytes)
        self.answer = _Side(max_raw_bytes)
        self.status: int | None = None

    def wrap_receive(self, receive: Receive) -> Receive:
        async def receive_and_record() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self.request.add(message.get("body", b""))
            return message

        return receive_and_record

    def replace_request(self, body: bytes) -> None:
        """Replaces the bytes as received, which may be compressed, by the decoded body."""
        self.request = _Side(self.request.max_bytes)
        self.request.add(body)

    def wrap_send(self, send: Send) -> Send:
        async def record_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            else:
                self.answer.add(message.get("body", b""))
            await send(message)

        return record_and_send

    @property
    def kept(self) -> int:
        """The bytes that the capture keeps in memory."""
        return self.request.kept + self.answer.kept


class Recordings:
    """Makes recordings of captures. Bounded in number and bytes; excess captures are dropped."""

    def __init__(
        self,
        queue: RecordingQueue,
        breaker: Breaker,
        *,
        max_bytes: int,
        pause_s: float = _PAUSE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._queue = queue
        self._breaker = breaker
        self._max_bytes = max_bytes
        self._pause_s = pause_s
        self._closing = asyncio.Event()
        self._clock = clock
        self._waiting = 0
        self._waiting_bytes = 0
        self._unlogged = 0
        self._logged_at = -inf
        self._ends_at = inf
        self._commits: GroupCommit[CallCapture, None] = GroupCommit(
            self._write, max_items=_MAX_BATCH, max_waiting=_MAX_WAITING
        )

    def start(self, call: Call) -> CallCapture | None:
        """None for a call that makes no tokens."""
        if call.operation != "create":
            return None
        return CallCapture(call, self._max_bytes * _MAX_RAW_FACTOR)

    def offer(self, capture: CallCapture) -> None:
        """Does not block, and raises nothing."""
        if self._waiting >= _MAX_WAITING or self._waiting_bytes + capture.kept > _MAX_WAITING_BYTES:
            self._drop("full", 1)
            return
        self._waiting += 1
        self._waiting_bytes += capture.kept
        self._commits.submit(capture)

    async def close(self) -> None:
        """Sends the offered captures; drops them if Redis is unavailable, or after `_CLOSE_S`."""
        self._ends_at = self._clock() + _CLOSE_S
        self._closing.set()
        await self._commits.close()

    async def _write(self, captures: Sequence[CallCapture]) -> Sequence[None]:
        try:
            # Only reads the breaker: failed recordings must not keep calls from Redis.
            if self._breaker.is_open or self._clock() > self._ends_at:
                self._drop("redis_away", len(captures))
            else:
                await self._send(await asyncio.to_thread(self._make_recordings, captures))
        finally:
            self._waiting -= len(captures)
            self._waiting_bytes -= sum(capture.kept for capture in captures)
        if len(captures) < _MAX_BATCH:
            await self._pause()
        return [None] * len(captures)

    async def _pause(self) -> None:
        """Lets the next batch gather, until `close`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s):
                await self._closing.wait()

    async def _send(self, recordings: Sequence[Recording]) -> None:
        for payload, count in await asyncio.to_thread(pack, recordings):
            try:
                queued = await self._queue.put(uuid4().hex, payload)
            except (RedisError, OSError) as error:
                # The error's message may repeat the payload.
                self._drop("redis_away", count, error=type(error).__name__)
                continue
            if queued:
                RECORDINGS.labels("queued").inc(count)
            else:
                self._drop("queue_full", count)

    def _make_recordings(self, captures: Sequence[CallCapture]) -> list[Recording]:
        """Runs in a thread. A failed recording leaves the others."""
        recordings = []
        for capture in captures:
            try:
                recordings.append(self._recording(capture))
            except Exception:
                # Logged here, because no caller waits for the recording.
                log.exception("recording.failed", call_id=capture.call.call_id)
                RECORDINGS.labels("failed").inc()
        return recordings

    def _recording(self, capture: CallCapture) -> Recording:
        call, key = capture.call, capture.call.principal.key
        terms = key.recording
        if terms is None:
            raise AssertionError("a capture is started for keys that record")
        return Recording(
            call_id=call.call_id,
            user_id=key.user_id,
            key_id=key.key_id,
            format=call.format.name,
            model=capture.model,
            started_at=call.started_at,
            stream=capture.is_stream,
            http_status=capture.status,
            request=transcribe(
                capture.request.raw(), capture.request.size, self._max_bytes, stream=False
            ),
            answer=transcribe(
                capture.answer.raw(),
                capture.answer.size,
                self._max_bytes,
                stream=capture.is_stream,
            ),
            expires_at=call.started_at + timedelta(days=terms.retention_days),
        )

    def _drop(self, reason: str, count: int, **details: str) -> None:
        RECORDINGS.labels(reason).inc(count)
        self._unlogged += count
        now = self._clock()
        if now - self._logged_at >= _LOG_EVERY_S:
            log.warning("recordings.dropped", why=reason, recordings=self._unlogged, **details)
            self._unlogged, self._logged_at = 0, now
