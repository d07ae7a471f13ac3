"""The HTTP client, against servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.web.http_client import HttpClient, HttpUnreachable
from tests.servers import HOST, free_port
from tests.support.certificates import Certificate
from tests.support.sockets import accepting

OK = b"HTTP/1.1 200 OK\r\n"


def client_of(url: str, *, timeout_s: float = 10.0) -> HttpClient:
    return HttpClient(url, name="The gateway", setting="GATEWAY_URL", timeout_s=timeout_s)


@asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that sends those bytes to whoever asks; its URL, and what it was sent."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        received.append(head + await reader.read(2))
        for part in parts:
            writer.write(part)
            await writer.drain()

    async with accepting(serve) as port:
        yield f"http://{HOST}:{port}", received


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"Content-Length: 2\r\nX-Request-Id: 7\r\n\r\nok",),
        (b"HTTP/1.1 100 Continue\r\n\r\n", OK, b"x-request-id: 7\r\n\r\n", b"ok"),
        (
            OK
            + b"transfer-encoding: chunked\r\nx-request-id: 7\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        ),
    ],
    ids=["whole", "until the end", "chunked"],
)
async def test_an_answer_is_parsed(parts: tuple[bytes, ...]) -> None:
    async with answering(*parts) as (url, received):
        answer = await client_of(f"{url}/below/").post("/path", [(b"x-one", b"1")], b"{}")
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers[b"x-request-id"] == b"7"
    assert received[0].startswith(b"POST /below/path HTTP/1.1\r\n")
    head = received[0].lower()
    assert b"\r\nhost: " + url.removeprefix("http://").encode() + b"\r\n" in head
    assert b"\r\nx-one: 1\r\n" in head
    assert head.endswith(b"\r\n\r\n{}")


async def test_the_url_itself_keeps_its_query() -> None:
    async with answering(OK + b"content-length: 0\r\n\r\n") as (url, received):
        await client_of(f"{url}/hook/?token=7").post("", [], b"{}")
    assert received[0].startswith(b"POST /hook/?token=7 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "cannot be reached"),
        ((b"garbage\r\n\r\n",), "cannot be reached"),
        ((OK + b"content-length: 9\r\n\r\nok",), "cannot be reached"),
        ((OK + b"content-length: 2000000\r\n\r\n", b"x" * 2_000_000), "too large"),
        ((OK + b"x: " + b"y" * 200_000,), "cannot be reached"),
    ],
    ids=["nothing", "garbage", "cut", "too large", "endless headers"],
)
async def test_an_invalid_answer_is_rejected(parts: tuple[bytes, ...], says: str) -> None:
    async with answering(*parts) as (url, _):
        with pytest.raises(HttpUnreachable, match=says):
            await client_of(url).post("/path", [], b"{}")


async def test_connection_refused() -> None:
    client = client_of(f"http://{HOST}:{free_port()}")
    with pytest.raises(HttpUnreachable, match="GATEWAY_URL"):
        await client.post("/path", [], b"{}")


async def test_a_gateway_that_never_answers_times_out() -> None:
    gate = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        with pytest.raises(HttpUnreachable, match=r"did not answer within 0\.05 s"):
            await client_of(url, timeout_s=0.05).post("/path", [], b"{}")
        gate.set()


async def test_user_and_password_of_the_url_are_sent_as_authorization() -> None:
    async with answering(OK + b"content-length: 0\r\n\r\n") as (url, received):
        authority = url.removeprefix("http://")
        await client_of(f"http://an%40ops:a%3Aword@{authority}/hook").post("", [], b"{}")
    assert b"\r\nhost: " + authority.encode() + b"\r\n" in received[0].lower()
    assert b"\r\nauthorization: basic yw5ab3bzome6d29yza==\r\n" in received[0].lower()


async def test_given_addresses_are_asked_in_turn_under_the_name_of_the_host() -> None:
    async with answering(OK + b"content-length: 0\r\n\r\n") as (url, received):
        port = url.rpartition(":")[2]
        client = HttpClient(
            f"http://nowhere.invalid:{port}/",
            name="It",
            setting="X",
            timeout_s=10,
            # Nobody listens at the first one.
            addresses=["127.0.0.2", HOST],
        )
        assert (await client.post("", [], b"{}")).status == 200
    assert f"\r\nhost: nowhere.invalid:{port}\r\n".encode() in received[0].lower()


async def test_the_certificate_is_that_of_the_host_whichever_address_is_asked(
    tmp_path: Path,
) -> None:
    certificate = Certificate(tmp_path, "hooks.example")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: 0\r\n\r\n")
        await writer.drain()

    async with accepting(serve, tls=certificate.serving()) as port:
        for host, trusts in (("hooks.example", True), ("other.example", False)):
            client = HttpClient(
                f"https://{host}:{port}/",
                name="It",
                setting="X",
                timeout_s=10,
                addresses=[HOST],
                tls=certificate.trusting(),
            )
            if trusts:
                assert (await client.post("", [], b"{}")).status == 200
            else:
                with pytest.raises(HttpUnreachable, match="SSLCertVerificationError"):
                    await client.post("", [], b"{}")
