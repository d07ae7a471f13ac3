"""redis-py's client on a Redis Cluster: each command goes to the node of its key.

Everything else is as with a single server, but that a transaction's keys lie in one slot, and that
nothing can be watched.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError, TryAgainError

from libs.common.storage.redis.answers import all_of, answers_of, first_answer
from libs.common.storage.redis.cluster import NOTHING_DONE, ClusterPool, NotReached
from libs.common.storage.redis.key_slots import first_key, is_script, slot_of
from libs.common.storage.redis.node_links import one_slot_of
from libs.common.storage.redis.node_pool import NodePool

# Of these, each key may lie in another slot.
_COUNTING = frozenset({"DEL", "EXISTS", "TOUCH", "UNLINK"})
_AT_ALL_NODES = frozenset({"FLUSHALL", "FLUSHDB", "SCRIPT LOAD"})
_NOT_SENT = TryAgainError("not sent")  # type: ignore[no-untyped-call]


class Routed(Redis):
    """Goes before a class of redis-py's. With the pool of a single server it changes nothing."""

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        cluster = self.connection_pool
        if not isinstance(cluster, ClusterPool) or self.single_connection_client:
            return await super().execute_command(*command, **options)  # type: ignore[no-untyped-call]
        if command[0] in _AT_ALL_NODES:
            nodes: list[Any] = await self.nodes()
            commands = (node.execute_command(*command, **options) for node in nodes)
            return first_answer(await answers_of(commands))
        if command[0] == "MGET" or command[0] in _COUNTING:
            return await self._split(command[0], command[1:], options)
        key = first_key(command)
        if key is None:
            return await super().execute_command(*command, **options)  # type: ignore[no-untyped-call]
        send = partial(self._send, command, options)
        return await cluster.at_slot(slot_of(key), send, may_follow=not is_script(command))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if not isinstance(self.connection_pool, ClusterPool):
            return super().pipeline(transaction, shard_hint)
        return ClusterPipeline(self, transaction, shard_hint)

    # redis-py declares the type of its other client.
    async def scan_iter(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> AsyncIterator[Any]:
        for node in await self.nodes():
            async for key in node.scan_iter(*args, **options):
                yield key

    async def nodes(self) -> list[Redis]:
        """A client for each master."""
        cluster = self.connection_pool
        if not isinstance(cluster, ClusterPool):
            return [self]
        return [Redis(connection_pool=pool) for pool in await cluster.masters()]

    async def _send(
        self, command: Sequence[Any], options: dict[str, Any], pool: NodePool, asking: bool
    ) -> Any:
        connection = await opened(pool)
        try:
            if asking:
                await connection.send_command("ASKING")
                await connection.read_response()
            await connection.send_command(*command)
            return await self.parse_response(connection, command[0], **options)
        finally:
            await pool.release(connection)

    async def _split(self, name: str, keys: Sequence[Any], options: dict[str, Any]) -> Any:
        """As one command, but not at one time."""
        places: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(slot_of(key), []).append(place)
        cluster: Any = self.connection_pool
        exchanges = []
        for slot, own_places in places.items():
            command = (name, *(keys[place] for place in own_places))
            exchanges.append(
                cluster.at_slot(slot, partial(self._send, command, options), may_follow=True)
            )
        answers = await all_of(exchanges)
        return sum(answers) if name in _COUNTING else in_order(places.values(), answers)


class ClusterPipeline(Pipeline):
    """Commands to several nodes, or a transaction at one."""

    def __init__(self, redis: Routed, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, transaction, shard_hint)
        self._redis = redis
        self._cluster: Any = redis.connection_pool

    async def immediate_execute_command(self, *command: Any, **_: Any) -> Any:
        raise RedisError(f"a pipeline on a cluster cannot execute {command[0]} at once")

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands = self.command_stack
        try:
            if not commands:
                return []
            for script in self.scripts:
                await self._redis.script_load(script.script)
            if not self.is_transaction:
                return await self._execute_parts(commands, raise_on_error)
            slot = one_slot_of([command for command, _ in commands])
            send = partial(self._transact, commands, raise_on_error)
            answers: list[Any] = await self._cluster.at_slot(slot, send, may_follow=False)
        finally:
            await self.reset()  # type: ignore[no-untyped-call]
        return answers

    async def _transact(
        self, commands: Any, raise_on_error: bool, pool: NodePool, _asking: bool
    ) -> list[Any]:
        return await self._at_node(pool, commands, raise_on_error)

    async def _at_node(self, pool: NodePool, commands: Any, raise_on_error: bool) -> list[Any]:
        """As one pipeline of redis-py's. Raises NotReached."""
        pipeline = Pipeline(pool, self.response_callbacks, self.is_transaction, None)
        pipeline.command_stack = commands
        pipeline.connection = await opened(pool)
        # It gives the connection back.
        answers: list[Any] = await pipeline.execute(raise_on_error)
        return answers

    async def _execute_parts(self, commands: Any, raise_on_error: bool) -> list[Any]:
        parts: dict[NodePool | None, list[int]] = {}
        for place, (command, _) in enumerate(commands):
            key = first_key(command)
            pool = None if key is None else await self._cluster.nodes.find(slot_of(key))
            parts.setdefault(pool, []).append(place)
        answers = await all_of(
            [self._at(pool, [commands[place] for place in part]) for pool, part in parts.items()]
        )
        ordered = in_order(parts.values(), answers)
        if raise_on_error:
            self.raise_first_error(commands, ordered)
        return ordered

    async def _at(self, pool: NodePool | None, commands: Any) -> list[Any]:
        """Commands that the node did not do are then sent one by one, in their order."""
        answers: list[Any] = [_NOT_SENT] * len(commands)
        if pool is not None:
            with suppress(NotReached):
                answers = await self._at_node(pool, commands, False)
        for place, (command, options) in enumerate(commands):
            if isinstance(answers[place], NOTHING_DONE):
                try:
                    answers[place] = await self._redis.execute_command(*command, **options)
                except ResponseError as error:
                    answers[place] = error
        return answers


async def opened(pool: NodePool) -> Any:
    """Raises NotReached."""
    try:
        return await pool.get_connection()
    except (RedisError, OSError) as error:
        raise NotReached.because(error) from error


def in_order(parts: Iterable[Sequence[int]], answers: Sequence[Sequence[Any]]) -> list[Any]:
    """The answers to all parts, each at its place."""
    by_place = {
        place: value
        for part, values in zip(parts, answers, strict=True)
        for place, value in zip(part, values, strict=True)
    }
    return [by_place[place] for place in range(len(by_place))]
