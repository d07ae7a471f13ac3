"""Orders of the admin service to the ledger worker, on the worker's queue."""

from uuid import UUID

import msgspec

from libs.common.schemas.correction import CorrectionOrder, RepriceOrder
from libs.common.storage.queue.event_queue import (
    CORRECT_JOB,
    REPRICE_JOB,
    Queue,
    enqueue_payload,
    queues_of,
)
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shards import shards_of

ORDER_VERSION = 1

_encode = msgspec.msgpack.Encoder().encode
decode_correction = msgspec.msgpack.Decoder(CorrectionOrder).decode
decode_reprice = msgspec.msgpack.Decoder(RepriceOrder).decode


class CorrectionQueue:
    """A returned method's order is durable. A repeated id is ignored until its job ends."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._shards = shards_of(redis)
        self._queues = queues_of(self._shards)

    async def correct(self, order: CorrectionOrder) -> None:
        queue = self._queues[self._shards.of(order.user_id)]
        await self._enqueue(queue, CORRECT_JOB, f"correct-{order.entry_id}", _encode(order))

    async def reprice(self, order_id: UUID, order: RepriceOrder) -> None:
        # Its entries are of any accounts.
        await self._enqueue(self._queues[0], REPRICE_JOB, f"reprice-{order_id}", _encode(order))

    async def _enqueue(self, queue: Queue, function: str, job_id: str, payload: bytes) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            enqueue_payload(pipeline, queue, function, job_id, payload)
            await pipeline.execute()
