"""`make chaos` on a Redis Cluster: its masters are killed and paused, and slots move under load."""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine
from os import kill
from time import monotonic
from typing import Any

import msgspec
from redis import RedisError

from deploy.local.errors import StackError
from libs.common.storage.redis.key_slots import SLOTS
from tests.clusters import Cluster, Node, move_slots

# Of six shards, every other move has one.
_MOVED = SLOTS // 12


class ClusterNode(msgspec.Struct, frozen=True):
    """A master that comes back with its append-only file."""

    name: str
    node: Node

    def kill(self) -> None:
        self.node.server.kill()

    def start(self) -> None:
        try:
            self.node.server.start()
        except RuntimeError as error:
            raise StackError(str(error)) from error

    def signal(self, signum: signal.Signals) -> None:
        kill(self.node.server.pid, signum)


def victims(cluster: Cluster) -> list[ClusterNode]:
    return [ClusterNode(f"node {n}", node) for n, node in enumerate(cluster.masters)]


def mover(
    cluster: Cluster, seed: int, say: Callable[[str], None]
) -> Callable[[float], Coroutine[Any, Any, None]]:
    """Moves some slots from one master to another, atomically, again and again."""
    chance = random.Random(f"{seed} slots")

    def move() -> str:
        start = chance.randrange(0, SLOTS - _MOVED)
        last = start + _MOVED - 1
        sources = [node for node in cluster.masters if node.serves(start) and node.serves(last)]
        if not sources:
            return "no slots moved: their master is away, or they have two"
        target = chance.choice([node for node in cluster.masters if node is not sources[0]])
        move_slots(start, last, sources[0], target)
        return f"slots {start} to {last} moved"

    async def keep_moving(until: float) -> None:
        while monotonic() < until:
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            try:
                say(await asyncio.to_thread(move))
            except (RedisError, TimeoutError, OSError) as error:
                # A node that is away moves nothing.
                say(f"no slots moved: {type(error).__name__}")

    return keep_moving
