"""Requests through a proxy of the environment, which is made of bytes as well."""

import asyncio
from base64 import b64encode
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec
import pytest

from services.gateway.upstream.http.client import UpstreamClient
from services.gateway.upstream.http.connections import Connector
from tests.servers import HOST
from tests.service.gateway.http_client.asking import PATIENT, answer_of, post, whole
from tests.service.gateway.http_client.wire import (
    Script,
    Wire,
    WireProvider,
    always,
    answer,
    serving,
)
from tests.support.certificates import Certificate

GOOD = always(answer(b"good"))
PLAIN = "http://api.example:8080/v1/chat"
SECURE = "https://api.example/v1/chat"
USER = "us%40er:p%3Ass"
CREDENTIALS = b"Basic " + b64encode(b"us@er:p:ss")


def use(monkeypatch: pytest.MonkeyPatch, proxy: WireProvider, *, user: str = "") -> None:
    url = f"http://{user}@{HOST}:{proxy.port}" if user else f"http://{HOST}:{proxy.port}"
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("HTTPS_PROXY", url)


@pytest.mark.parametrize("user", ["", USER])
async def test_a_plain_request_uses_the_absolute_form(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """The proxy's credentials are in each request, also on a connection that is used again."""
    async with serving(GOOD) as proxy:
        use(monkeypatch, proxy, user=user)
        for _ in range(2):
            response = await client.request(
                "POST", PLAIN, [(b"a", b"1")], b"{}", PATIENT, resource="?b=2"
            )
            assert await whole(response) == b"good"

    expected = (
        b"POST http://api.example:8080/v1/chat?b=2 HTTP/1.1\r\n"
        b"host: api.example:8080\r\na: 1\r\ncontent-length: 2\r\n"
    )
    if user:
        expected += b"proxy-authorization: " + CREDENTIALS + b"\r\n"
    assert proxy.requests == [expected + b"\r\n{}"] * 2
    assert proxy.connections == [1, 1]


@pytest.mark.parametrize("user", ["", USER])
@pytest.mark.parametrize(
    ("address", "target"),
    [(SECURE, b"api.example:443"), ("https://api.example:8443/v1", b"api.example:8443")],
)
async def test_a_proxy_that_refuses_the_tunnel(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch, address: str, target: bytes, user: str
) -> None:
    """It learns where the request should have gone, and nothing of what it says."""
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    async with serving(always(refusal)) as proxy:
        use(monkeypatch, proxy, user=user)
        for _ in range(3):
            with pytest.raises(aiohttp.ClientHttpProxyError) as raised:
                await post(client, address, b"secret")
            assert raised.value.status == 403

    assert len(proxy.requests) == 3
    for request in proxy.requests:
        assert request.startswith(b"CONNECT %b HTTP/1.1\r\n" % target)
        lines = [line for line in request.split(b"\r\n") if line.lower().startswith(b"proxy-auth")]
        assert lines == ([b"Proxy-Authorization: " + CREDENTIALS] if user else [])
        assert b"secret" not in request
    assert proxy.torn == b""


def tunnel_to(port: int) -> Script:
    """Wherever it was asked to go."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(64 * 1024):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def script(wire: Wire) -> None:
        await wire.request()
        reader, writer = await asyncio.open_connection(HOST, port)
        await wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(wire._reader, writer), pump(reader, wire._writer))

    return script


async def test_a_secure_request_goes_through_a_tunnel(
    client: UpstreamClient, connector: Connector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The provider hears nothing of the proxy; the tunnel serves more than one request."""
    certificate = Certificate(tmp_path, "api.example")
    connector._ssl = certificate.trusting()
    async with (
        serving(GOOD, tls=certificate.serving()) as provider,
        serving(tunnel_to(provider.port)) as proxy,
    ):
        use(monkeypatch, proxy, user=USER)
        for _ in range(2):
            assert await answer_of(client, SECURE) == b"good"

    request = b"POST /v1/chat HTTP/1.1\r\nhost: api.example\r\ncontent-length: 2\r\n\r\n{}"
    assert provider.requests == [request] * 2
    assert (proxy.connections, provider.connections) == ([1], [1, 1])


async def test_the_certificate_behind_a_tunnel_is_verified(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = Certificate(tmp_path, "api.example")
    async with (
        serving(GOOD, tls=certificate.serving()) as provider,
        serving(tunnel_to(provider.port)) as proxy,
    ):
        use(monkeypatch, proxy)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await post(client, SECURE, b"secret")

    assert (provider.requests, provider.torn) == ([], b"")


async def test_no_proxy_excludes_hosts(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(GOOD) as proxy, serving(always(answer(b"direct"))) as provider:
        use(monkeypatch, proxy, user=USER)
        monkeypatch.setenv("NO_PROXY", f"{HOST},.internal.example")
        assert await answer_of(client, provider.address) == b"direct"
        assert await answer_of(client, PLAIN) == b"good"

    (request,) = provider.requests
    assert request.startswith(b"POST /v1/chat HTTP/1.1\r\n")
    assert b"proxy" not in request.lower()


async def test_a_proxy_that_never_answers(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.rest()

    brief = msgspec.structs.replace(PATIENT, first_byte_s=0.2)
    async with serving(script) as proxy:
        use(monkeypatch, proxy)
        for address in (PLAIN, SECURE, PLAIN, SECURE):
            with pytest.raises(TimeoutError):
                await post(client, address, timeouts=brief)

    assert proxy.connections == [1, 2, 3, 4]


async def test_a_proxy_that_is_down(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(GOOD) as proxy:
        use(monkeypatch, proxy)
    for address in (PLAIN, SECURE):
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await post(client, address)


@pytest.mark.parametrize("proxy", ["http://proxy:99999", "http://[::1"])
async def test_an_invalid_proxy_address(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """The call fails as one to a provider that cannot be reached, and may go elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(aiohttp.ClientError):
        await post(client, PLAIN)
