"""What is sent again where a kept connection ends under it."""

import aiohttp
import pytest

from services.gateway.upstream.http.client import UpstreamClient
from tests.service.gateway.http_client.asking import PATIENT, answer_of, post, whole
from tests.service.gateway.http_client.wire import Wire, answer, on_first, serving


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_repeatable_request_is_repeated_if_a_kept_connection_ends(
    client: UpstreamClient, method: str
) -> None:
    """The provider closes it at the moment when the second request arrives."""
    async with serving(on_first(_hangs_up_on_the_second)) as provider:
        for _ in range(2):
            response = await client.request(method, provider.address, [], b"", PATIENT)
            assert await whole(response) == b"good"

    assert provider.connections == [1, 1, 2]


async def test_a_provider_that_always_hangs_up_is_asked_twice(client: UpstreamClient) -> None:
    async with serving(_hangs_up) as provider:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await client.request("GET", provider.address, [], b"", PATIENT)

    assert provider.connections == [1, 2]


async def test_generating_requests_are_not_repeated(client: UpstreamClient) -> None:
    async with serving(on_first(_hangs_up_on_the_second)) as provider:
        assert await answer_of(client, provider.address) == b"good"
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(client, provider.address)

    assert provider.connections == [1, 1]


async def _hangs_up_on_the_second(wire: Wire) -> None:
    await wire.request()
    await wire.send(answer(b"good"))
    await wire.request()


async def _hangs_up(wire: Wire) -> None:
    await wire.request()
