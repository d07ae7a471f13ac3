"""The nodes of a Redis Cluster: a pool of connections for each, and which serves which slots.

What is known may be old at any time: a node that does not serve a slot says so. The map is then
read anew, from any node that answers, and from those that the URL names while no other does.
"""

import asyncio
import logging
from collections.abc import Container, Iterator, Sequence
from random import shuffle
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.key_slots import SLOTS, slot_of
from libs.common.storage.redis.master import RedisUnsuitable
from libs.common.storage.redis.node_pool import NodePool, SeedPool
from libs.common.storage.redis.shards import cluster_shards
from libs.common.storage.redis.slot_map import Address, SlotMap, read_slot_map
from libs.common.storage.redis.url import ClusterUrl

# The slot map is read at most so often, and at least so often while nothing else asks for it: a
# subscriber would not notice that its node has left the cluster.
_LEAST_AGE_S = 0.25
_MOST_AGE_S = 5.0
_NODE_TIMEOUT_S = 1.0
_READ_TIMEOUT_S = 4.0
# A node that has left the map may still answer what it was asked before.
_SPARE_S = 5.0
# The number of shards is recorded all over the slots, in the same ones whatever it is: no single
# node is needed to know it. It is recorded in each shard's slot, too, for its transactions.
_SIXTEEN = cluster_shards(16)
# Not structlog: importing it would cost the worker's probe more than the rest of its work.
log = logging.getLogger(__name__)


class ClusterNodes:
    """`options` are those of each node's pool."""

    def __init__(self, url: ClusterUrl, options: dict[str, Any]) -> None:
        # By slot; empty until the map was read, and while the cluster is unsuitable.
        self.slots: list[NodePool | None] = []
        self.pools: set[NodePool] = set()
        self._url = url
        self._records = list(
            dict.fromkeys(
                shards.record(n)
                for shards in (_SIXTEEN, cluster_shards(url.shards))
                for n in range(shards.count)
            )
        )
        self._options = options
        self._seeds = [SeedPool(self.refresh_soon, each, **options) for each in url.nodes]
        self._by_address: dict[Address, NodePool] = {}
        self._read_task: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._failure: RedisError = RedisConnectionError("no node was asked")

    async def find(self, slot: int) -> NodePool:
        """The node that is thought to serve the slot."""
        return self.known(slot) or await self._read_and_find(slot)

    def known(self, slot: int) -> NodePool | None:
        """The node, if there is no doubt."""
        pool = self.slots[slot] if self.slots else None
        return None if pool is None or pool.is_suspect else pool

    async def masters(self) -> list[NodePool]:
        """Those that serve slots, in the order of these."""
        if not self.slots:
            await self.refresh()
        return [pool for pool in dict.fromkeys(self.slots) if pool is not None]

    def pool_at(self, address: Address) -> NodePool:
        pool = self._by_address.get(address)
        if pool is None:
            pool = self._by_address[address] = NodePool(self.refresh_soon, address, **self._options)
            self.pools.add(pool)
        pool.unused_since_s = None
        return pool

    async def close(self) -> None:
        """Ends reading the map, too."""
        if self._read_task is not None:
            self._read_task.cancel()
            await asyncio.wait({self._read_task})
        await asyncio.gather(*(pool.disconnect() for pool in self.pools))

    async def follow(self) -> None:
        """Runs until cancelled: keeps the map young, once somebody has asked for it."""
        while True:
            await asyncio.sleep(_MOST_AGE_S)
            if self.slots:
                self.refresh_soon()
                await asyncio.gather(*(pool.check() for pool in await self.masters()))

    def suspect(self, pool: NodePool) -> None:
        """After a lost connection: its next command waits for a new map."""
        pool.is_suspect = True
        self.refresh_soon()

    def refresh_soon(self) -> None:
        """Reads the map in the background, unless it was read just now."""
        now = asyncio.get_running_loop().time()
        if self._read_task is None and now - self._read_at >= _LEAST_AGE_S:
            self._read_at = now
            self._read_task = asyncio.create_task(self._read())
            self._read_task.add_done_callback(self._on_read)

    async def refresh(self) -> None:
        """Reads the map, unless it was read just now. Raises RedisError while none is known."""
        self.refresh_soon()
        if self._read_task is not None:
            await asyncio.shield(self._read_task)
        if not self.slots:
            # Another one each time: an error keeps the traceback of each time that it is raised.
            raise type(self._failure)(*self._failure.args)

    def _on_read(self, task: "asyncio.Task[None]") -> None:
        self._read_task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("redis.slot_map_failed", exc_info=error)

    async def _read_and_find(self, slot: int) -> NodePool:
        await self.refresh()
        pool = self.slots[slot]
        if pool is None:
            raise RedisConnectionError(f"no node of the cluster serves slot {slot}")
        pool.is_suspect = False
        return pool

    async def _read(self) -> None:
        """An old map stays in use while no node answers, but not if the cluster is unsuitable."""
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                slot_map = await self._ask_nodes()
                slots = self._slots_of(slot_map)
                await self._check_shards(slots)
        except RedisUnsuitable as error:
            self.slots, self._failure = [], error
        except (RedisError, OSError) as error:
            self._failure = RedisConnectionError(f"the cluster's slots cannot be read: {error}")
        except TimeoutError:
            self._failure = RedisTimeoutError("the cluster did not report its slots in time")
        else:
            self.slots = slots
            await self._leave_unused(set(slots))

    async def _ask_nodes(self) -> SlotMap:
        """The first map of a node that is in touch with the others, else the latest."""
        failure: Exception = RedisConnectionError("no node is known")
        best: SlotMap | None = None
        for pool in self._askable():
            try:
                async with asyncio.timeout(_NODE_TIMEOUT_S):
                    slot_map = await _slot_map_of(pool)
            except (RedisError, OSError) as error:
                # TimeoutError is an OSError.
                failure = error
                continue
            finally:
                if pool in self._seeds:
                    await pool.disconnect()
            if best is None or (slot_map.is_ok, slot_map.epoch) > (best.is_ok, best.epoch):
                best = slot_map
            if slot_map.is_ok:
                break
        if best is None:
            raise failure
        return best

    def _askable(self) -> Iterator[NodePool]:
        """The known nodes, and last those of the URL."""
        pools = list({pool for pool in self.slots if pool is not None})
        shuffle(pools)
        yield from sorted(pools, key=lambda pool: pool.is_suspect)
        yield from self._seeds

    def _slots_of(self, slot_map: SlotMap) -> list[NodePool | None]:
        slots: list[NodePool | None] = [None] * SLOTS
        for start, end, address in slot_map.ranges:
            slots[start : end + 1] = [self.pool_at(address)] * (end + 1 - start)
        masters = {address for _, _, address in slot_map.ranges}
        if self.slots and masters != {pool.address for pool in set(self.slots) if pool}:
            names = sorted(f"{host}:{port}" for host, port in masters)
            log.warning("redis.masters_changed", extra={"address": " ".join(names)})
        return slots

    async def _check_shards(self, slots: list[NodePool | None]) -> None:
        """Raises RedisUnsuitable if the accounts are divided otherwise in this cluster, and another
        RedisError if no node knows.
        """
        number = str(self._url.shards)
        names: dict[NodePool | None, list[str]] = {}
        for name in self._records:
            names.setdefault(slots[slot_of(name)], []).append(name)
        reads = (_recorded_at(pool, own, number) for pool, own in names.items() if pool is not None)
        answers = await answers_of(reads)
        recorded = {each for answer in answers if isinstance(answer, set) for each in answer}
        for other in recorded - {number.encode()}:
            raise RedisUnsuitable(
                f"REDIS_URL says shards={number}, but the keys in this cluster are divided into "
                f"{other.decode(errors='replace')[:10]} shards: write that number"
            )
        if not recorded and not self.slots:
            first_answer(answers)
            raise RedisConnectionError(f"no node could record shards={number}")

    async def _leave_unused(self, used: Container[NodePool | None]) -> None:
        now = asyncio.get_running_loop().time()
        for pool in list(self.pools):
            if pool in used:
                pool.unused_since_s = None
            elif pool.unused_since_s is None:
                pool.unused_since_s = now
            elif now - pool.unused_since_s > _SPARE_S:
                self.pools.remove(pool)
                del self._by_address[pool.address]
                await pool.disconnect()


async def _slot_map_of(pool: NodePool) -> SlotMap:
    async with Redis(connection_pool=pool).pipeline(transaction=False) as pipeline:
        pipeline.execute_command("CLUSTER", "SLOTS")
        pipeline.execute_command("CLUSTER", "INFO")
        slots, info = await pipeline.execute()
    return read_slot_map(slots, info, pool.address)


async def _recorded_at(pool: NodePool, names: Sequence[str], number: str) -> set[bytes]:
    """What the names hold: the wanted number where there was none."""
    async with Redis(connection_pool=pool).pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.set(name, number, nx=True)
            pipeline.get(name)
        # A full node rejects the first, and a slot may just have moved.
        answers = await pipeline.execute(raise_on_error=False)
    return {answer for answer in answers[1::2] if isinstance(answer, bytes)}
