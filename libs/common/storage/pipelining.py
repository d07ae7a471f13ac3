"""Commands of concurrent calls share one write to Redis per tick of the event loop.

A command of its own costs redis-py several times what it costs as a part of a pipeline, and at
load that is most of what an admission costs.
"""

import asyncio
from typing import Any

from libs.common.storage.redis import Redis, RedisError

_MAX_COMMANDS = 500


class Pipelined:
    """Runs commands in pipelines without transactions: each has its own result or error."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def run(self, *command: Any) -> Any:
        """Raises what Redis, or the connection to it, says of the command."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((command, future))
        return await future

    async def run_all(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Several at once, in order and in one pipeline; raises the first error."""
        return list(await asyncio.gather(*(self.run(*command) for command in commands)))

    def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MAX_COMMANDS], self._waiting[_MAX_COMMANDS:]
            task = asyncio.create_task(self._execute(batch))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)

    async def _execute(self, batch: list[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        # Whatever happens here, nobody may wait forever.
        results: list[Any] = [ConnectionError("the pipeline was given up")] * len(batch)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for command, _ in batch:
                    pipeline.execute_command(*command)
                results = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            results = [error] * len(batch)
        finally:
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
