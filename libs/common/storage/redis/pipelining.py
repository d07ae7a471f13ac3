"""Concurrent calls pipeline their commands over one connection to each server of Redis."""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, Protocol

import hiredis
from redis.exceptions import RedisError

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.cluster import ClusterPool
from libs.common.storage.redis.node_links import NodeLinks, one_slot_of
from libs.common.storage.redis.wire import Link, Wire

# Commits wait for the append-only file's sync, which a busy disk can delay.
_TIMEOUT_S = 3.0
# Replicas acknowledge within milliseconds; one that is cut off is not waited for longer.
_REPLICAS_MS = 1000
_MULTI = hiredis.pack_command(("MULTI",))
_EXEC = hiredis.pack_command(("EXEC",))


class NotReplicated(RedisError):
    """The master has the transaction, and too few of its replicas have said that they do."""


_Answers = tuple[Sequence[Any], Wire, NotReplicated | None]


class CommandSink(Protocol):
    """A Transaction, or a pipeline of redis-py."""

    def execute_command(self, *command: Any) -> object: ...


class Transaction:
    """Commands between MULTI and EXEC. On a cluster, all their keys lie in one slot."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.packed: list[bytes] = []

    def execute_command(self, *command: Any) -> None:
        self.commands.append(command)
        self.packed.append(hiredis.pack_command(command))


class Pipelined:
    """Each command has its own reply or error. Replies are as Redis gives them, texts as bytes."""

    def __init__(
        self, redis: Redis, *, timeout_s: float = _TIMEOUT_S, wait_replicas: int = 0
    ) -> None:
        """`wait_replicas` of the server have to acknowledge a transaction; other commands wait."""
        pool = redis.connection_pool
        self._wait_replicas = wait_replicas
        self._link = Link(pool, timeout_s)
        self._nodes = NodeLinks(pool, timeout_s) if isinstance(pool, ClusterPool) else None

    def run(self, *command: Any) -> Awaitable[Any]:
        """Raises RedisError if Redis rejects the command or the connection fails."""
        if self._nodes is not None:
            return self._nodes.run(command)
        return self._link.send(hiredis.pack_command(command), 1)

    async def run_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies, in order. Raises the first error."""
        return list(await asyncio.gather(*(self.run(*command) for command in commands)))

    async def transact(self, transaction: Transaction) -> Sequence[Any]:
        """The replies. Raises the first error; the other commands still took effect.

        Raises NotReplicated and ShardsChanged too, after which it has to be repeated or kept
        elsewhere.
        """
        if self._nodes is not None:
            return await self._transact_at_node(self._nodes, transaction)
        packed = [_MULTI, *transaction.packed, _EXEC]
        if self._wait_replicas:
            return _checked(*await self._exchange(packed, await self._link.open()))
        answers: Sequence[Any] = await self._link.send(b"".join(packed), len(packed))
        return _checked(answers, self._link.wire)

    async def _transact_at_node(self, nodes: NodeLinks, transaction: Transaction) -> Sequence[Any]:
        slot = one_slot_of(transaction.commands)
        guard = nodes.guard_of(slot)
        exchange = partial(self._exchange, [_MULTI, *transaction.packed, *guard, _EXEC])
        answers = _checked(*await nodes.exchange(slot, exchange))
        if guard:
            *answers, recorded = answers
            nodes.check_guard(recorded)
        return answers

    async def _exchange(self, packed: Sequence[bytes], wire: Wire) -> _Answers:
        """Raises an error if the server did not execute the transaction, or it is not known to."""
        sent = wire.send(b"".join(packed), len(packed))
        if not self._wait_replicas:
            return await sent, wire, None
        # WAIT asks about what its own connection wrote.
        wait: tuple[Any, ...] = ("WAIT", self._wait_replicas, _REPLICAS_MS)
        answers, replicas = await asyncio.gather(sent, wire.send(hiredis.pack_command(wait), 1))
        lacking = None
        if replicas < self._wait_replicas:
            lacking = NotReplicated(
                f"{replicas} of {self._wait_replicas} replicas acknowledged within "
                f"{_REPLICAS_MS} ms"
            )
        return answers, wire, lacking


def _checked(
    answers: Sequence[Any], wire: Wire | None, lacking: NotReplicated | None = None
) -> Sequence[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            if wire is not None:
                # A script is rejected only as the transaction runs it.
                wire.leave_after(answer)
            raise answer
    if lacking is not None:
        raise lacking
    return answers
