"""Pipelined connections to the nodes of a cluster, one to each."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import hiredis
from redis.exceptions import RedisError

from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.cluster import ClusterPool, NotReached
from libs.common.storage.redis.key_slots import first_key, is_script, slot_of, slots_of
from libs.common.storage.redis.node_pool import NodePool
from libs.common.storage.redis.wire import Link, Wire

T = TypeVar("T")
_NOTHING: tuple[bytes, ...] = ()
_ASKING = hiredis.pack_command(("ASKING",))


class ShardsChanged(RedisError):
    """The transaction was executed, where nobody may look: it has to be kept elsewhere as well."""


class NodeLinks:
    """Sends each command to the node of its keys' slot."""

    def __init__(self, cluster: ClusterPool, timeout_s: float) -> None:
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._links: dict[NodePool, Link] = {}
        shards = cluster.shards
        self._count = b"%d" % shards.count
        names = map(shards.record, range(shards.count))
        self._guards = {slot_of(name): _guard(name) for name in names}

    def run(self, command: tuple[Any, ...]) -> Awaitable[Any]:
        packed, key = hiredis.pack_command(command), first_key(command)
        if key is None:
            return self._run_without_key(command, packed)
        send = partial(self._send, packed)
        return self._cluster.at_slot(slot_of(key), send, may_follow=not is_script(command))

    def guard_of(self, slot: int) -> tuple[bytes, ...]:
        """What a transaction in a shard's slot ends with, for `check_guard`."""
        return self._guards.get(slot, _NOTHING)

    def check_guard(self, recorded: bytes | None) -> None:
        """Raises ShardsChanged if the cluster's accounts are divided into another number of shards,
        or nobody says: then no worker may look where the transaction wrote.
        """
        if recorded != self._count:
            self._cluster.nodes.refresh_soon()
            raise ShardsChanged("the cluster no longer holds the number of shards")

    async def exchange(self, slot: int, exchange: Callable[[Wire], Awaitable[T]]) -> T:
        """Has the slot's node do it."""

        async def at_node(pool: NodePool, _asking: bool) -> T:
            return await exchange(await self._open(pool))

        return await self._cluster.at_slot(slot, at_node, may_follow=False)

    async def _send(self, packed: bytes, pool: NodePool, asking: bool) -> Any:
        link = self._links.get(pool)
        wire = None if link is None else link.wire
        if wire is None or wire.is_closed:
            wire = await self._open(pool)
        if asking:
            return await wire.send(_ASKING + packed, 2)
        return await wire.send(packed, 1)

    async def _open(self, pool: NodePool) -> Wire:
        """Raises NotReached."""
        link = self._links.get(pool)
        if link is None:
            known = self._cluster.nodes.pools
            self._links = {each: link for each, link in self._links.items() if each in known}
            # Of several nodes, most are idle when the tick's first command comes.
            link = self._links[pool] = Link(pool, self._timeout_s, writes_at_once=False)
        try:
            return await link.open()
        except (RedisError, OSError) as error:
            raise NotReached.because(error) from error

    async def _run_without_key(self, command: tuple[Any, ...], packed: bytes) -> Any:
        """At any node; a script is loaded by all that can be reached."""
        pools = await self._cluster.masters()
        if command[0] != "SCRIPT":
            pools = pools[:1]
        replies = (self._send(packed, pool, False) for pool in pools)
        return first_answer(await answers_of(replies))


def _guard(record: str) -> tuple[bytes, ...]:
    command: tuple[Any, ...] = ("GET", record)
    return (hiredis.pack_command(command),)


def one_slot_of(commands: Sequence[Sequence[Any]]) -> int:
    """Raises AssertionError if the commands' keys lie in several slots, or there is none."""
    slots = slots_of(commands)
    if len(slots) != 1:
        keys = [first_key(command) for command in commands]
        raise AssertionError(f"a transaction's keys lie in {len(slots)} slots: {keys}")
    return slots.pop()
