"""Tells a waiting client that its stream is alive, until the provider sends its first byte."""

import asyncio

from starlette.types import Send


class KeepAlive:
    """Costs a timer per stream; a task is made only when the provider really takes its time."""

    __slots__ = ("_every_s", "_frame", "_loop", "_send", "_task", "_timer")

    def __init__(self, frame: bytes, every_s: float, send: Send) -> None:
        self._frame = frame
        self._every_s = every_s
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(every_s, self._begin)

    def stop(self) -> None:
        """Call this at the first byte, or once no byte can come."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        """Another task waits for the client's disconnect."""
        while True:
            await self._send({"type": "http.response.body", "body": self._frame, "more_body": True})
            await asyncio.sleep(self._every_s)
