"""Providers over TLS: whom the client trusts, and that all else is as without."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from services.gateway.upstream.http.client import UpstreamClient
from services.gateway.upstream.http.connections import Connector
from tests.servers import HOST
from tests.service.gateway.http_client.asking import GUARD_S, answer_of, post, whole
from tests.service.gateway.http_client.wire import (
    CHUNKED,
    Wire,
    always,
    answer,
    on_first,
    serving,
)
from tests.support.certificates import Certificate

GOOD = always(answer(b"good"))


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path, HOST)


@pytest.fixture
def trusted(certificate: Certificate, connector: Connector) -> Certificate:
    connector._ssl = certificate.trusting()
    return certificate


async def test_an_untrusted_certificate(client: UpstreamClient, certificate: Certificate) -> None:
    async with serving(GOOD, tls=certificate.serving()) as provider:
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await post(client, provider.address, b"secret")

    assert (provider.requests, provider.torn) == ([], b"")


async def test_a_certificate_for_another_host(
    client: UpstreamClient, connector: Connector, tmp_path: Path
) -> None:
    certificate = Certificate(tmp_path, "other.example")
    connector._ssl = certificate.trusting()
    async with serving(GOOD, tls=certificate.serving()) as provider:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await post(client, provider.address, b"secret")

    assert (provider.requests, provider.torn) == ([], b"")


async def test_a_provider_without_tls(client: UpstreamClient, trusted: Certificate) -> None:
    received = b""

    async def script(wire: Wire) -> None:
        nonlocal received
        received += await wire._reader.read(1024)
        await wire.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        received += await wire.rest()

    async with serving(script) as provider:
        with pytest.raises(aiohttp.ClientConnectorError):
            await post(client, provider.address.replace("http:", "https:"), b"secret")

    assert received
    assert b"secret" not in received


@pytest.mark.parametrize("size", [2, 3 * 1024 * 1024])
async def test_a_trusted_provider(client: UpstreamClient, trusted: Certificate, size: int) -> None:
    """Its connection is used again, as any other."""
    body = b"ab" * (size // 2)
    async with serving(GOOD, tls=trusted.serving()) as provider:
        for _ in range(3):
            assert await answer_of(client, provider.address, body) == b"good"

    assert provider.connections == [1, 1, 1]
    assert all(request.endswith(b"\r\n\r\n" + body) for request in provider.requests)


async def test_an_abandoned_stream(client: UpstreamClient, trusted: Certificate) -> None:
    """The provider is told, and its connection is not used again."""
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")
        await wire.rest()
        gone.set()

    async with serving(on_first(script), tls=trusted.serving()) as provider:
        response = await post(client, provider.address)
        assert await response.read() == b"good"
        response.release()
        await asyncio.wait_for(gone.wait(), GUARD_S)
        assert await answer_of(client, provider.address) == b"good"

    assert provider.connections == [1, 2]


async def test_a_truncated_answer(client: UpstreamClient, trusted: Certificate) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"4\r\ngood\r\n")

    async with serving(on_first(script), tls=trusted.serving()) as provider:
        response = await post(client, provider.address)
        with pytest.raises((aiohttp.ClientError, OSError)):
            await whole(response)
        assert await answer_of(client, provider.address) == b"good"
