"""What tests ask, and how long they wait for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.gateway.upstream.http.client import RequestTimeouts, UpstreamClient, UpstreamResponse

GUARD_S = 10
# More than a test waits: what ends by itself ends for another reason.
PATIENT = RequestTimeouts(connect_s=60, between_bytes_s=60, first_byte_s=60, total_s=60)


@asynccontextmanager
async def guarded() -> AsyncIterator[None]:
    """The client's own timeouts pass; what hangs is a failure."""
    guard = asyncio.timeout(GUARD_S)
    try:
        async with guard:
            yield
    except TimeoutError:
        assert not guard.expired(), "it hangs"
        raise


async def post(
    client: UpstreamClient, address: str, body: bytes = b"{}", timeouts: RequestTimeouts = PATIENT
) -> UpstreamResponse:
    async with guarded():
        return await client.request("POST", address, [], body, timeouts)


async def whole(response: UpstreamResponse) -> bytes:
    """The body, after which the connection is of use again."""
    parts = []
    async with guarded():
        try:
            while part := await response.read():
                parts.append(part)
        finally:
            response.release()
    return b"".join(parts)


async def answer_of(
    client: UpstreamClient, address: str, body: bytes = b"{}", timeouts: RequestTimeouts = PATIENT
) -> bytes:
    return await whole(await post(client, address, body, timeouts))


async def until(true: Callable[[], bool]) -> None:
    """For what nobody announces."""
    async with guarded():
        while not true():
            await asyncio.sleep(0)
