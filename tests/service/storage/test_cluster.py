"""A client of a cluster: each command reaches the node of its key."""

from collections.abc import Sequence
from contextlib import aclosing, suppress
from itertools import count as count_from
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from structlog.testing import capture_logs

from libs.common.storage.readiness import check_writable
from libs.common.storage.redis.client import memory_ratio, nodes_of, open_redis
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.key_slots import SLOTS, slot_of
from libs.common.storage.redis.master import RedisUnsuitable
from libs.common.storage.redis.node_links import ShardsChanged
from libs.common.storage.redis.pipelining import NotReplicated, Pipelined, Transaction
from libs.common.storage.redis.shards import cluster_shards, shards_of
from libs.common.storage.redis.suitability import check_suitable, listens, publishes
from tests.clusters import Cluster, begin_to_move, end_move, move_keys, move_slots
from tests.servers import HOST, free_port
from tests.support.polling import eventually


def spread(cluster: Cluster) -> list[str]:
    """A new key in the slots of each master."""
    keys: dict[int, str] = {}
    for number in count_from():
        key = f"{uuid4().hex}:{number}"
        keys.setdefault(slot_of(key) * len(cluster.masters) // SLOTS, key)
        if len(keys) == len(cluster.masters):
            return list(keys.values())
    raise AssertionError("count_from() does not end")


@pytest.fixture
def keys(emptied_cluster: Cluster) -> list[str]:
    return spread(emptied_cluster)


async def test_commands_of_many_keys(cluster_redis: Routed, keys: list[str]) -> None:
    for number, key in enumerate(keys):
        await cluster_redis.set(key, number)
    assert await cluster_redis.mget([*keys, "nothing"]) == [b"0", b"1", b"2", None]
    assert await cluster_redis.exists(*keys, "nothing") == 3
    assert set(keys) <= {key.decode() async for key in cluster_redis.scan_iter(count=1000)}
    assert await cluster_redis.unlink(*keys) == 3
    assert await cluster_redis.mget(keys) == [None] * 3


async def test_a_pipeline_answers_in_order(cluster_redis: Routed, keys: list[str]) -> None:
    async with cluster_redis.pipeline(transaction=False) as pipeline:
        for number, key in enumerate(keys):
            pipeline.set(key, number)
        pipeline.time()
        for key in reversed(keys):
            pipeline.incr(key)
        answers = await pipeline.execute()
    assert answers[:3] == [True] * 3
    assert answers[4:] == [3, 2, 1]
    async with cluster_redis.pipeline(transaction=False) as pipeline:
        pipeline.lpush(keys[0], "x")
        pipeline.get(keys[1])
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await pipeline.execute()


async def test_a_transaction_lies_in_one_slot(cluster_redis: Routed, keys: list[str]) -> None:
    one, other, _ = keys
    async with cluster_redis.pipeline(transaction=True) as pipeline:
        pipeline.set(f"{{{one}}}a", 1)
        pipeline.incr(f"{{{one}}}a")
        assert await pipeline.execute() == [True, 2]
    async with cluster_redis.pipeline(transaction=True) as pipeline:
        pipeline.incr(f"{{{one}}}a")
        pipeline.incr(other)
        with pytest.raises(AssertionError, match="lie in 2 slots"):
            await pipeline.execute()
    transaction = Transaction()
    transaction.execute_command("INCR", f"{{{one}}}a")
    transaction.execute_command("INCR", other)
    with pytest.raises(AssertionError, match="lie in 2 slots"):
        await Pipelined(cluster_redis).transact(transaction)
    async with cluster_redis.pipeline(transaction=True) as pipeline:
        with pytest.raises(RedisError, match="cannot execute WATCH"):
            await pipeline.watch(one)
    assert await cluster_redis.mget(f"{{{one}}}a", other) == [b"2", None]


async def test_pipelined_commands(cluster_redis: Routed, keys: list[str]) -> None:
    pipelined = Pipelined(cluster_redis)
    assert await pipelined.run_all(*(("INCRBY", key, 7) for key in keys)) == [7, 7, 7]
    assert await pipelined.run_all(*(("INCR", key) for key in keys for _ in range(100))) == [
        *range(8, 108),
        *range(8, 108),
        *range(8, 108),
    ]
    for key in keys:
        transaction = Transaction()
        transaction.execute_command("INCR", key)
        transaction.execute_command("GET", key)
        assert await pipelined.transact(transaction) == [108, b"108"]
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await pipelined.run("LPUSH", keys[0], "x")


async def test_scripts_are_loaded_by_every_node(cluster_redis: Routed, keys: list[str]) -> None:
    pipelined = Pipelined(cluster_redis)
    text = f"return '{uuid4().hex}' .. KEYS[1]"
    with pytest.raises(NoScriptError):
        await pipelined.run("EVALSHA", "0" * 40, 1, keys[0])
    sha = await pipelined.run("SCRIPT", "LOAD", text)
    for key in keys:
        assert (await pipelined.run("EVALSHA", sha, 1, key)).endswith(key.encode())
    script = cluster_redis.register_script(text + " -- once more")
    assert [(await script([key]))[32:].decode() for key in keys] == keys


async def test_replicas_of_the_node_are_waited_for(cluster_redis: Routed, keys: list[str]) -> None:
    for replicas in (1, 2):
        pipelined = Pipelined(cluster_redis, wait_replicas=replicas)
        for key in keys:
            transaction = Transaction()
            transaction.execute_command("INCR", key)
            if replicas == 1:
                assert await pipelined.transact(transaction) == [1]
            else:
                with pytest.raises(NotReplicated, match="1 of 2"):
                    await pipelined.transact(transaction)
                break


async def test_messages_of_all_nodes_are_heard(cluster_redis: Routed) -> None:
    channel = uuid4().hex
    async with aclosing(cluster_redis.pubsub()) as pubsub:
        await pubsub.subscribe(channel)
        assert (await pubsub.get_message(timeout=10) or {})["type"] == "subscribe"
        for number, node in enumerate(await nodes_of(cluster_redis)):
            await node.publish(channel, number)
            assert (await pubsub.get_message(timeout=10) or {})["data"] == b"%d" % number


async def test_all_nodes_are_looked_at(cluster_redis: Routed, emptied_cluster: Cluster) -> None:
    await check_suitable(cluster_redis, listens)
    await check_suitable(cluster_redis, publishes)
    await check_writable(cluster_redis)
    assert await memory_ratio(cluster_redis) == 0
    last = emptied_cluster.master_of(SLOTS - 1)
    last.ask("CONFIG", "SET", "maxmemory", "100gb")
    try:
        assert 0 < await memory_ratio(cluster_redis) < 0.5
    finally:
        last.ask("CONFIG", "SET", "maxmemory", "0")


async def test_another_number_of_shards_is_refused(
    emptied_cluster: Cluster, cluster_redis: Routed
) -> None:
    assert shards_of(cluster_redis) == cluster_shards(6)
    records = [key async for key in cluster_redis.scan_iter("gateway:shards:*", count=1000)]
    names = {cluster_shards(n).record(shard) for n in (6, 16) for shard in range(n)}
    assert {name.decode() for name in records} == names
    assert await cluster_redis.mget(records) == [b"6"] * len(names)
    async with open_redis(f"{emptied_cluster.url}?shards=8") as redis:
        for _ in range(2):
            with pytest.raises(RedisUnsuitable, match=r"shards=8, but .* divided into 6 shards"):
                await check_suitable(redis)
        with pytest.raises(RedisUnsuitable):
            await Pipelined(redis).run("GET", "a")
        with pytest.raises(RedisUnsuitable):
            await redis.pubsub().subscribe("channel")


async def test_a_transaction_in_a_shard_ends_with_the_number_of_shards(
    emptied_cluster: Cluster, cluster_redis: Routed
) -> None:
    """Until it is recorded again, nobody may know where the transaction wrote."""
    key, record = "gateway:{0}:key", "gateway:shards:{0}"
    pipelined = Pipelined(cluster_redis)

    async def count() -> Sequence[Any]:
        transaction = Transaction()
        transaction.execute_command("INCR", key)
        return await pipelined.transact(transaction)

    async def is_back() -> bool:
        with suppress(ShardsChanged):
            return bool(await count())
        return False

    assert await count() == [1]
    node = emptied_cluster.master_of(slot_of(key))
    node.ask("DEL", record)
    with pytest.raises(ShardsChanged):
        await count()
    await eventually(is_back)
    assert node.ask("GET", record) == b"6"
    node.ask("SET", record, 8)
    with pytest.raises(RedisUnsuitable, match="divided into 8 shards"):
        await eventually(is_back)


async def test_the_scheme_must_fit_the_server(emptied_cluster: Cluster, redis_url: str) -> None:
    async with open_redis(emptied_cluster.masters[0].server.url) as redis:
        with pytest.raises(RedisUnsuitable, match=r"write redis\+cluster://"):
            await redis.ping()
    async with open_redis(redis_url.replace("redis://", "redis+cluster://")) as redis:
        with pytest.raises(RedisUnsuitable, match="not a node of a Redis Cluster: write redis://"):
            await redis.ping()


async def test_seeds_may_be_gone(emptied_cluster: Cluster, keys: list[str]) -> None:
    replica = emptied_cluster.replicas[0].server.port
    gone = f"{HOST}:{free_port()}"
    async with open_redis(f"redis+cluster://{gone},{HOST}:{replica}") as redis:
        assert await redis.mget(keys) == [None] * 3
    async with open_redis(f"redis+cluster://{gone}") as redis:
        with pytest.raises(RedisConnectionError, match="the cluster's slots cannot be read"):
            await redis.get("a")
        with pytest.raises(RedisConnectionError):
            await Pipelined(redis).run("GET", "a")


async def test_the_least_rights_suffice(emptied_cluster: Cluster, keys: list[str]) -> None:
    rights = ("~gateway:*", "~arq:*", "&gateway:*", "+@all", "-@admin", "-@dangerous", "+info")
    for node in emptied_cluster.nodes:
        node.ask("ACL", "SETUSER", "app", "on", ">word", "resetchannels", *rights)
    key = f"gateway:{keys[0]}"
    slot = slot_of(key)
    source = emptied_cluster.master_of(slot)
    target = emptied_cluster.others(source)[0]
    try:
        async with open_redis(emptied_cluster.url.replace("//", "//app:word@")) as redis:
            with capture_logs() as logs:
                await check_suitable(redis, listens)
                await check_suitable(redis, publishes)
            assert logs == []
            pipelined = Pipelined(redis, wait_replicas=1)
            transaction = Transaction()
            transaction.execute_command("SET", key, 1)
            assert await pipelined.transact(transaction) == [b"OK"]
            begin_to_move(slot, source, target)
            move_keys(slot, source, target)
            assert await pipelined.run("GET", key) == await redis.get(key) == b"1"
            assert await redis.time()
    finally:
        end_move(slot, source, target)
        move_slots(slot, slot, target, source)
        for node in emptied_cluster.nodes:
            node.ask("ACL", "DELUSER", "app")
