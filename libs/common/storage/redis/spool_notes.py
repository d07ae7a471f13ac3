"""What gateways say of their spools: since when records wait, and until when they did."""

import msgspec

from libs.common.storage.redis.client import Redis

_KEY = "gateway:spools"
# Of gateways that are gone, with or without their spool: others renew theirs, and so the hash.
_KEPT_S = 24 * 3600


class SpoolNote(msgspec.Struct, frozen=True, kw_only=True):
    """In Unix milliseconds; `until_ms` is None while records wait.

    `bytes` is the size of the spool's files at `noted_ms`, room for more included; both are None in
    the notes of earlier releases.
    """

    gateway: str
    since_ms: int
    until_ms: int | None = None
    noted_ms: int | None = None
    bytes: int | None = None

    def is_gone(self, now_ms: float) -> bool:
        """Whether its gateway has renewed it for so long no more that it will not."""
        return now_ms - max(self.noted_ms or 0, self.since_ms) > _KEPT_S * 1000

    @property
    def name(self) -> str:
        return f"{self.gateway}|{self.since_ms}"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SpoolNote).decode


class SpoolNoteStore:
    """One hash, by gateway and start."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, note: SpoolNote) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            # The stubs know values as text.
            pipeline.hset(_KEY, note.name, _encode(note))  # type: ignore[arg-type]
            pipeline.expire(_KEY, _KEPT_S)
            await pipeline.execute()

    async def all(self) -> list[SpoolNote]:
        return [_decode(raw) for raw in await self._redis.hvals(_KEY)]  # type: ignore[misc]

    async def remove(self, note: SpoolNote) -> None:
        await self._redis.hdel(_KEY, note.name)  # type: ignore[misc]
