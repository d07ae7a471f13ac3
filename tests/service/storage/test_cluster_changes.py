"""A cluster whose slots move and whose nodes are lost: nothing is done twice, or lost unnoticed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from time import monotonic
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from libs.common.storage.readiness import check_writable
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.key_slots import slot_of
from libs.common.storage.redis.pipelining import Pipelined, Transaction
from libs.common.storage.redis.scripts import run_once
from libs.common.storage.redis.suitability import check_suitable
from tests.clusters import (
    Cluster,
    Node,
    begin_to_move,
    end_move,
    hand_over,
    move_keys,
    move_slots,
    promote,
    until,
)
from tests.service.storage.test_cluster import spread
from tests.support.polling import eventually, eventually_in_thread

# As an account's script, it declares a root that never exists and uses keys beside it.
_ADD = "return redis.call('INCR', KEYS[1] .. ':script')"


class Stream:
    """Counts by a script, a transaction and redis-py's pipeline, each of its own key."""

    def __init__(self, redis: Redis, roots: list[str], *, wait_replicas: int = 0) -> None:
        self._redis = redis
        self._pipelined = Pipelined(redis)
        self._commits = Pipelined(redis, wait_replicas=wait_replicas)
        self._roots = [f"{{{root}}}" for root in roots]
        self.done: Counter[str] = Counter()
        # Those that may have been done.
        self.failed: Counter[str] = Counter()
        self._stopped = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the block ends, and everything that was sent was answered."""
        ways = (self._script, self._transaction, self._pipeline)
        async with asyncio.TaskGroup() as group:
            for root in self._roots:
                for way in ways:
                    group.create_task(self._repeat(way, root))
            yield
            self._stopped = True

    async def progress(self) -> None:
        """Returns once each of them was done some times more."""
        before = self.done.copy()
        ways = [f"{root}:{way}" for root in self._roots for way in ("script", "multi", "pipe")]
        await eventually_in_thread(lambda: all(self.done[way] > before[way] + 3 for way in ways))

    async def check(self) -> None:
        for name, done in self.done.items():
            count = int(await self._redis.get(name) or 0)
            assert done <= count <= done + self.failed[name], name

    async def _repeat(self, way: Callable[[str], object], root: str) -> None:
        while not self._stopped:
            await way(root)  # type: ignore[misc]
            await asyncio.sleep(0.002)

    async def _script(self, root: str) -> None:
        await self._count(f"{root}:script", self._pipelined.run("EVAL", _ADD, 1, root))

    async def _transaction(self, root: str) -> None:
        transaction = Transaction()
        transaction.execute_command("INCR", f"{root}:multi")
        transaction.execute_command("EXISTS", root)
        await self._count(f"{root}:multi", self._commits.transact(transaction))

    async def _pipeline(self, root: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(f"{root}:pipe")
            pipeline.exists(root)
            await self._count(f"{root}:pipe", pipeline.execute())

    async def _count(self, name: str, command: object) -> None:
        try:
            await command  # type: ignore[misc]
        except (RedisError, OSError):
            self.failed[name] += 1
        else:
            self.done[name] += 1


@pytest.fixture
def roots(emptied_cluster: Cluster) -> list[str]:
    return spread(emptied_cluster)


@contextmanager
def killed(cluster: Cluster, node: Node) -> Iterator[None]:
    """Starts it again; one whose replica was promoted becomes a replica."""
    node.server.kill()
    try:
        yield
    finally:
        node.server.start()
        until(cluster.is_whole)


async def test_slots_move_at_once_under_load(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    slot = slot_of(roots[0])
    source = emptied_cluster.master_of(slot)
    target = emptied_cluster.others(source)[0]
    stream = Stream(cluster_redis, roots)
    async with stream.running():
        for one, other in ((source, target), (target, source)):
            await stream.progress()
            await asyncio.to_thread(move_slots, slot, slot, one, other)
        await stream.progress()
    assert not stream.failed
    await stream.check()


async def test_a_slot_moves_key_by_key_under_load(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    slot = slot_of(roots[0])
    source = emptied_cluster.master_of(slot)
    target = emptied_cluster.others(source)[0]

    def move(source: Node, target: Node) -> None:
        begin_to_move(slot, source, target)
        for _ in range(3):
            move_keys(slot, source, target, most=1)
        end_move(slot, source, target)

    stream = Stream(cluster_redis, roots)
    async with stream.running():
        await stream.progress()
        await asyncio.to_thread(move, source, target)
        await stream.progress()
        await asyncio.to_thread(move, target, source)
        await stream.progress()
    assert not stream.failed
    await stream.check()


async def test_a_slot_whose_move_does_not_end(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    """Single keys are found at either node; what needs several waits, and fails as Redis away."""
    root = f"{{{roots[0]}}}"
    slot = slot_of(root)
    source = emptied_cluster.master_of(slot)
    target = emptied_cluster.others(source)[0]
    pipelined = Pipelined(cluster_redis)
    await pipelined.run_all(*(("SET", f"{root}{name}", name) for name in "ab"))
    begin_to_move(slot, source, target)
    try:
        move_keys(slot, source, target, most=1)
        assert await pipelined.run_all(*(("GET", f"{root}{name}") for name in "ab")) == [b"a", b"b"]
        assert await cluster_redis.set(f"{root}c", "c")
        assert await cluster_redis.get(f"{root}c") == b"c"
        began = monotonic()
        multi = Transaction()
        multi.execute_command("INCR", f"{root}n")
        tries = (
            pipelined.run("EVAL", _ADD, 1, root),
            pipelined.transact(multi),
            run_once(cluster_redis, _ADD, [root]),
            cluster_redis.mget(f"{root}a", f"{root}b"),
        )
        failed = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(error) for error in failed] == [RedisConnectionError] * 4
        assert 2 <= monotonic() - began < 10
    finally:
        move_keys(slot, source, target)
        end_move(slot, source, target)
        move_slots(slot, slot, target, source)
    assert await cluster_redis.mget(f"{root}a", f"{root}b", f"{root}n") == [b"a", b"b", None]


async def test_a_planned_failover_costs_no_command(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    slot = slot_of(roots[0])
    stream = Stream(cluster_redis, roots)
    async with stream.running():
        await stream.progress()
        replica = emptied_cluster.replica_of(emptied_cluster.master_of(slot))
        await asyncio.to_thread(hand_over, slot, replica)
        await stream.progress()
    assert not stream.failed
    await stream.check()


async def test_a_master_is_lost_and_its_replica_takes_over(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    lost = emptied_cluster.master_of(slot_of(roots[0]))
    replica = emptied_cluster.replica_of(lost)
    others = Stream(cluster_redis, roots[1:])
    # Without the replica's word, what the master acknowledged is lost with it.
    own = Stream(cluster_redis, roots[:1], wait_replicas=1)
    pipelined = Pipelined(cluster_redis)

    async def is_taken_over() -> bool:
        with suppress(RedisError, OSError):
            await pipelined.run("SET", roots[0], 1)
            return bool(await cluster_redis.get(roots[0]))
        return False

    async with others.running(), own.running():
        await others.progress()
        await own.progress()
        with killed(emptied_cluster, lost):
            await others.progress()
            await asyncio.to_thread(promote, replica)
            await eventually(is_taken_over)
            await others.progress()
        await own.progress()
    assert not others.failed
    await others.check()
    [name] = [name for name in own.failed if name.endswith(":multi")]
    count = int(await cluster_redis.get(name) or 0)
    assert own.done[name] <= count <= own.done[name] + own.failed[name]


async def test_a_master_without_a_replica_is_lost(
    emptied_cluster: Cluster, roots: list[str]
) -> None:
    """Its own keys cannot be used, and nothing else notices. The URL named it alone."""
    lost = emptied_cluster.master_of(slot_of(roots[0]))
    url = lost.server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
    async with open_redis(url) as redis, aclosing(redis.pubsub()) as pubsub:
        stream = Stream(redis, roots[1:])
        async with stream.running():
            await stream.progress()
            await pubsub.subscribe("channel")
            with killed(emptied_cluster, lost):
                await stream.progress()
                pipelined = Pipelined(redis)
                began = monotonic()
                for command in (pipelined.run("GET", roots[0]), redis.get(roots[0])):
                    with pytest.raises((RedisConnectionError, OSError)):
                        await command
                with pytest.raises((RedisConnectionError, OSError)):
                    await redis.mget(roots)
                async with redis.pipeline(transaction=False) as pipeline:
                    for root in roots:
                        pipeline.get(root)
                    with pytest.raises((RedisConnectionError, OSError)):
                        await pipeline.execute()
                assert monotonic() - began < 2
                assert await redis.mget(roots[1:]) == [None] * 2
                assert await redis.ping()
                await check_suitable(redis)
                await check_writable(redis)
                async with aclosing(redis.pubsub()) as other:
                    await other.subscribe("channel")
                    await other.get_message(timeout=10)
                async with open_redis(emptied_cluster.url) as started_now:
                    assert await started_now.mget(roots[1:]) == [None] * 2
                await stream.progress()
            assert await pipelined.run("GET", roots[0]) is None
        assert not stream.failed
        await stream.check()


async def test_a_slot_that_no_node_serves_for_a_moment(
    emptied_cluster: Cluster, cluster_redis: Routed, roots: list[str]
) -> None:
    key = uuid4().hex
    slot = slot_of(key)
    master = emptied_cluster.master_of(slot)
    pipelined = Pipelined(cluster_redis)
    await pipelined.run("SET", key, 1)
    master.ask("CLUSTER", "DELSLOTS", slot)
    sent = [
        asyncio.ensure_future(pipelined.run("INCR", key)),
        asyncio.ensure_future(cluster_redis.incr(key)),
    ]
    await pipelined.run("GET", roots[1])
    assert not any(each.done() for each in sent)
    master.ask("CLUSTER", "ADDSLOTS", slot)
    assert sorted(await asyncio.gather(*sent)) == [2, 3]


async def test_a_command_on_a_lost_connection_is_not_retried(
    emptied_cluster: Cluster, cluster_redis: Routed
) -> None:
    """It may have been done: only the caller knows what that means."""
    key = uuid4().hex
    master = emptied_cluster.master_of(slot_of(key))
    sent = [
        asyncio.ensure_future(Pipelined(cluster_redis).run("BLPOP", key, 0)),
        asyncio.ensure_future(cluster_redis.execute_command("BLPOP", key, 0)),
    ]
    await eventually_in_thread(lambda: master.ask("INFO")["blocked_clients"] == 2)
    master.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    answers = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RedisConnectionError] * 2
    assert await Pipelined(cluster_redis).run("RPUSH", key, "x") == 1
