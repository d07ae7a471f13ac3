"""A stream whose provider thinks before its first byte is kept alive, and only until then."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from libs.common.errors import UpstreamFailed
from services.gateway.calls.priced_request import PricedRequest
from services.gateway.calls.progress import AnswerProgress
from services.gateway.endpoints.stream_relay import StreamRelay
from services.gateway.formats import CHAT, MESSAGES, RESPONSES
from services.gateway.formats.base import Format
from services.gateway.upstream.answer import Stream
from services.gateway.usage.estimator import Estimator
from tests.unit.gateway.new_calls import new_call
from tests.unit.gateway.streams import (
    NOW_MS,
    ByBytes,
    chat_chunk,
    data,
    messages_stream,
    responses_stream,
)

COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
ALIVE = {"chat": COMMENT, "responses": COMMENT, "messages": PING}
CHAT_STREAM = [data(chat_chunk("Hi")), b"data: [DONE]\n\n"]
STREAMS = {
    "chat": CHAT_STREAM,
    "messages": messages_stream(["Hi"]),
    "responses": responses_stream(["Hi"]),
}
every_format = pytest.mark.parametrize(
    "client_format", [CHAT, MESSAGES, RESPONSES], ids=lambda row: row.name
)


class Client:
    """Counts what it is sent, and tells when it has been kept alive so many times."""

    def __init__(self, client_format: Format, times: int) -> None:
        self.bodies: list[bytes] = []
        self.kept_alive = asyncio.Event()
        self._frame = ALIVE[client_format.name]
        self._times = times

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])
            if self.bodies.count(self._frame) >= self._times:
                self.kept_alive.set()

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError


def relay(
    client_format: Format, client: Client, chunks: AsyncGenerator[bytes, None], every_s: float
) -> StreamRelay:
    async def close() -> None:
        pass

    request = client_format.decode(b'{"model": "m", "stream": true}')
    return StreamRelay(
        new_call(client_format, now_ms=NOW_MS, entropy=bytes),
        PricedRequest(request=request, prices={}, input_tokens=1),
        Stream(headers=[], chunks=chunks, close=close),
        AnswerProgress(),
        client.receive,
        client.send,
        estimator=Estimator(ByBytes()),
        keepalive_s=every_s,
    )


@every_format
async def test_a_silent_provider_gets_keep_alive_comments(client_format: Format) -> None:
    client = Client(client_format, times=3)

    async def chunks() -> AsyncGenerator[bytes, None]:
        await client.kept_alive.wait()
        for frame in STREAMS[client_format.name]:
            yield frame

    stream_relay = relay(client_format, client, chunks(), every_s=0.001)
    end = await stream_relay.run([])
    await stream_relay.send_last(end.last_bytes)

    assert end.status == "ok"
    alive = ALIVE[client_format.name]
    assert client.bodies[:3] == [alive] * 3
    provider_bodies = [body for body in client.bodies if body != alive]
    assert b"".join(provider_bodies) == b"".join(STREAMS[client_format.name]).replace(alive, b"")


@every_format
async def test_the_first_byte_ends_the_comments(client_format: Format) -> None:
    """From its first byte on a provider keeps its client alive itself."""
    client = Client(client_format, times=1)
    frames = STREAMS[client_format.name]

    async def chunks() -> AsyncGenerator[bytes, None]:
        for frame in frames:
            yield frame
            # Far more turns of the loop than a timer needs that was not stopped.
            for _ in range(50):
                await asyncio.sleep(0)

    await relay(client_format, client, chunks(), every_s=0.0).run([])

    assert ALIVE[client_format.name] not in client.bodies


async def test_no_timer_outlives_its_stream() -> None:
    client = Client(CHAT, times=1)

    async def chunks() -> AsyncGenerator[bytes, None]:
        if client.bodies:
            yield b""
        raise UpstreamFailed("gone")

    end = await relay(CHAT, client, chunks(), every_s=0.0).run([])
    for _ in range(50):
        await asyncio.sleep(0)

    assert (end.status, client.bodies) == ("upstream_error", [])
