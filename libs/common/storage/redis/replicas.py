"""What each process of the services says of itself: that it runs, its version, its clock."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from time import time

import msgspec
import structlog

from libs.common.decode_errors import UNREADABLE
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.version import VERSION

_KEY = "gateway:replicas"
# A process that says nothing for so long has ended or cannot reach Redis.
_KEPT_MS = 3600 * 1000
_MAX_NOTES = 1_000
EVERY_S = 15.0
_MS = 1000

log = structlog.get_logger(__name__)


class ReplicaNote(msgspec.Struct, frozen=True, kw_only=True):
    """`noted_ms` is Redis' time, `ahead_ms` how far the process' own clock is before it.

    `spool_bytes` is the size of the usage that waits on a gateway's disk, None of other services.
    `keyed` are the providers for which it was given a key.
    """

    service: str
    name: str
    version: str
    python: str
    started_ms: int
    noted_ms: int = 0
    ahead_ms: int = 0
    spool_bytes: int | None = None
    keyed: tuple[str, ...] = ()


def about(service: str, name: str, started_s: float) -> ReplicaNote:
    """Of this process. `started_s` is Unix time."""
    return ReplicaNote(
        service=service,
        name=name,
        version=VERSION,
        python=platform.python_version(),
        started_ms=round(started_s * _MS),
    )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ReplicaNote).decode


async def redis_time_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * _MS + int(micros) // _MS


class ReplicaStore:
    """One hash, by service and name. Notes of an hour ago are removed with the next one.

    So are those that cannot be read, of another release, whose processes write them again.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time) -> None:
        self._redis = redis
        self._clock = clock

    async def put(self, note: ReplicaNote) -> None:
        began = self._clock()
        now_ms = await redis_time_ms(self._redis)
        own_ms = (began + self._clock()) / 2 * _MS
        timed_note = msgspec.structs.replace(note, noted_ms=now_ms, ahead_ms=round(own_ms - now_ms))
        name = f"{note.service}|{note.name}"
        # The stubs know names and values as text.
        await self._redis.hset(_KEY, name, _encode(timed_note))  # type: ignore[misc, arg-type]
        expired = [
            name
            for name, each in await self._notes()
            if each is None or now_ms - each.noted_ms > _KEPT_MS
        ]
        if expired:
            await self._redis.hdel(_KEY, *expired)  # type: ignore[misc, arg-type]

    async def all(self) -> list[ReplicaNote]:
        """By service and name."""
        notes = [note for _, note in await self._notes() if note is not None]
        return sorted(notes, key=lambda note: (note.service, note.name))[:_MAX_NOTES]

    async def remove(self, note: ReplicaNote) -> None:
        await self._redis.hdel(_KEY, f"{note.service}|{note.name}")  # type: ignore[misc]

    async def _notes(self) -> list[tuple[bytes, ReplicaNote | None]]:
        """By the hash's fields; None for what cannot be read."""
        raw_notes = await self._redis.hgetall(_KEY)  # type: ignore[misc]
        return [(name, _read(raw)) for name, raw in raw_notes.items()]


def _read(raw: bytes) -> ReplicaNote | None:
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


async def report_replica(
    store: ReplicaStore,
    note: Callable[[], ReplicaNote],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until cancelled; then it takes the note away, where Redis can be reached."""
    try:
        while True:
            try:
                await store.put(note())
            except (RedisError, OSError) as error:
                log.debug("replica.not_noted", error=error)
            await sleep(EVERY_S)
    except asyncio.CancelledError:
        try:
            async with asyncio.timeout(1):
                await store.remove(note())
        except (RedisError, OSError, TimeoutError):
            log.debug("replica.not_removed")
        raise
