"""Request bodies are read whole, bounded in size and time, and counted where they take memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message, Receive

from libs.common.errors import BodyTooLarge, RequestTimeout, UnsupportedMediaType
from services.gateway.calls.headers import Headers
from services.gateway.endpoints.body import (
    UNCOUNTED_BYTES,
    Begin,
    BodyLimits,
    ClientDisconnected,
    read_body,
)
from services.gateway.endpoints.body_memory import BodyLease, BodyMemory

_NEVER_S = 600.0


def receiver(*parts: bytes, disconnect: bool = False) -> Receive:
    """The messages of a request, one for each part; reading on after them is a failure."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) or disconnect}
        for number, part in enumerate(parts, 1)
    ]
    if disconnect:
        messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return messages.pop(0)

    return receive


def limits(max_bytes: int, silence_s: float = _NEVER_S) -> BodyLimits:
    return BodyLimits(max_bytes=max_bytes, silence_s=silence_s)


def beginning() -> tuple[Begin, list[tuple[int | None, bool]], BodyMemory]:
    """What makes leases, with what it was asked for, and the memory that they are of."""
    lease_requests: list[tuple[int | None, bool]] = []
    memory = BodyMemory(max_bytes=10**9, max_account_bytes=10**9)

    async def begin(announced: int | None, is_late: bool) -> BodyLease:
        lease_requests.append((announced, is_late))
        return memory.lease("create", "acme", "key-1")

    return begin, lease_requests, memory


async def read(receive: Receive, headers: Headers, max_bytes: int) -> bytes:
    return await read_body(receive, headers, limits(max_bytes), beginning()[0])


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"bc"], [b"", b"abc", b""]])
async def test_parts_are_joined(parts: list[bytes]) -> None:
    assert await read(receiver(*parts), [], 3) == b"abc"


async def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert await read(receiver(b"12", b"34"), [], 4) == b"1234"
    with pytest.raises(BodyTooLarge, match="limit of 4 bytes"):
        await read(receiver(b"12", b"345"), [], 4)


async def test_reading_stops_at_the_limit() -> None:
    receive = receiver(b"12345", b"never read")

    with pytest.raises(BodyTooLarge):
        await read(receive, [], 4)
    assert (await receive())["body"] == b"never read"


async def test_an_announced_length_over_the_limit_is_rejected_unread() -> None:
    with pytest.raises(BodyTooLarge):
        await read(receiver(), [(b"content-length", b"5")], 4)


async def test_a_client_that_disconnects_is_reported() -> None:
    with pytest.raises(ClientDisconnected):
        await read(receiver(b"12", disconnect=True), [], 4)


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON; charset=utf-8", b"application/problem+json"],
)
async def test_json_media_types_are_accepted(content_type: bytes) -> None:
    assert await read(receiver(b"{}"), [(b"content-type", content_type)], 4) == b"{}"


@pytest.mark.parametrize("content_type", [b"text/plain", b"", b"multipart/form-data; boundary=x"])
async def test_other_media_types_are_rejected_unread(content_type: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="application/json"):
        await read(receiver(), [(b"content-type", content_type)], 4)


async def test_a_small_complete_body_is_not_counted() -> None:
    begin, lease_requests, _ = beginning()
    await read_body(receiver(b"x" * UNCOUNTED_BYTES), [], limits(10**6), begin)
    assert lease_requests == []


async def test_a_large_complete_body_is_counted() -> None:
    begin, lease_requests, memory = beginning()
    await read_body(receiver(b"x" * (UNCOUNTED_BYTES + 1)), [], limits(10**6), begin)
    assert lease_requests == [(None, False)]
    assert memory.bytes == UNCOUNTED_BYTES + 1


async def test_a_late_body_is_counted_however_small() -> None:
    begin, lease_requests, memory = beginning()
    headers = [(b"content-length", b"3")]
    await read_body(receiver(b"a", b"bc"), headers, limits(10**6), begin)
    assert lease_requests == [(3, True)]
    assert memory.bytes == 3
    assert not memory.arriving


async def test_a_refusal_comes_before_the_rest_of_the_body_is_read() -> None:
    receive = receiver(b"1", b"never read")

    async def refuse(_announced: int | None, _is_late: bool) -> BodyLease:
        raise PermissionError

    with pytest.raises(PermissionError):
        await read_body(receive, [], limits(10**6), refuse)
    assert (await receive())["body"] == b"never read"


async def test_a_body_refused_half_way_is_uncounted() -> None:
    """Others of the account would otherwise be refused with it, until its error is answered."""
    begin, _, memory = beginning()
    with pytest.raises(BodyTooLarge):
        await read_body(receiver(b"12", b"345"), [], limits(4), begin)
    assert (memory.bytes, dict(memory.arriving)) == (0, {})


@asynccontextmanager
async def stalled_client(*parts: bytes) -> AsyncIterator[tuple[Receive, asyncio.Event]]:
    """A client that sends some parts and then nothing; the event is set once it is asked again."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    is_waiting, never = asyncio.Event(), asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        is_waiting.set()
        await never.wait()
        raise AssertionError

    yield receive, is_waiting


@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", b"b"]], ids=len)
async def test_a_stalled_body_is_a_408(parts: list[bytes]) -> None:
    async with stalled_client(*parts) as (receive, is_waiting):
        with pytest.raises(RequestTimeout):
            await read_body(receive, [], limits(10, silence_s=0.01), beginning()[0])
        assert is_waiting.is_set()


async def test_a_body_that_takes_too_long_is_a_408() -> None:
    """Its parts keep coming, but not all of them within the total."""

    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    with pytest.raises(RequestTimeout):
        await read_body(receive, [], limits(10, silence_s=0.01), beginning()[0])


async def test_a_late_part_is_awaited() -> None:
    sent = asyncio.Event()
    parts = [b"b", b"a"]

    async def receive() -> Message:
        if len(parts) == 1:
            await sent.wait()
            await asyncio.sleep(0)
        return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}

    reading = asyncio.create_task(read(receive, [], 10))
    asyncio.get_running_loop().call_soon(sent.set)
    assert await reading == b"ab"


async def test_a_cancelled_reader_stops_waiting() -> None:
    async with stalled_client() as (receive, is_waiting):
        reading = asyncio.create_task(read(receive, [], 10))
        await is_waiting.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
