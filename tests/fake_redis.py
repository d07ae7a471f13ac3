"""fakeredis for what reads and writes a connection's transport itself."""

import asyncio
from collections.abc import Callable
from typing import Any

from fakeredis import FakeAsyncRedis
from fakeredis.aioredis import AsyncFakeSocket, FakeAsyncRedisConnection
from redis.exceptions import NoScriptError


class _Transport(asyncio.Transport):
    """Hands bytes to the fake server, and its answers back as a server would write them."""

    def __init__(self, socket: AsyncFakeSocket) -> None:
        super().__init__()
        self._socket = socket
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self._socket.sendall(data)
        receive: Callable[[bytes], None] = self._protocol.data_received  # type: ignore[attr-defined]
        while not self._socket.responses.empty():
            answer = _encode(self._socket.responses.get_nowait())
            asyncio.get_running_loop().call_soon(receive, answer)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


class _Runtime:
    """Lua as Redis runs it: the first line may say what is allowed (`#!lua flags=allow-oom`)."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def execute(self, script: Any) -> Any:
        if isinstance(script, bytes) and script.startswith(b"#!"):
            script = b"--" + script
        return self._runtime.execute(script)


class FakeConnection(FakeAsyncRedisConnection):
    async def _connect(self) -> None:
        await super()._connect()
        runtime_of = self._sock._get_server_runtime  # type: ignore[union-attr]
        wrapped = lambda server: _Runtime(runtime_of(server))  # noqa: E731
        self._sock._get_server_runtime = wrapped  # type: ignore[union-attr, method-assign]
        self._writer.transport = _Transport(self._sock)  # type: ignore[union-attr, arg-type]


def fake_redis() -> FakeAsyncRedis:
    """A server of its own in this process."""
    return FakeAsyncRedis(connection_class=FakeConnection)


def _encode(answer: Any) -> bytes:
    match answer:
        case None:
            return b"$-1\r\n"
        case NoScriptError():
            return f"-NOSCRIPT {answer}\r\n".encode()
        case Exception():
            return f"-{answer}\r\n".encode()
        case int():
            return b":%d\r\n" % answer
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(answer), answer)
        case list():
            return b"*%d\r\n" % len(answer) + b"".join(map(_encode, answer))
    raise AssertionError(f"fakeredis answered {answer!r}")
