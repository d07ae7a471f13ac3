"""Providers that compress although they were asked not to: read, or refused."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import TOKENS, Dialect
from tests.service.gateway.faults import check_error_frame, check_event, split_last
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

Compress = Callable[[bytes], bytes]
COMPRESSED: dict[str, Compress] = {"gzip": gzip.compress, "deflate": zlib.compress}
every_encoding = pytest.mark.parametrize(
    ("encoding", "compress"), COMPRESSED.items(), ids=COMPRESSED
)


@every_encoding
async def test_an_answer_is_decompressed(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    encoding: str,
    compress: Compress,
) -> None:
    upstream.answers(compress(dialect.answer), headers={"content-encoding": encoding})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    assert upstream.requests[0].header("accept-encoding") == "identity"
    assert (response.status_code, response.content) == (200, dialect.answer)
    assert "content-encoding" not in response.headers
    event = await books.the_event(secret)
    assert (event.status, event.usage, event.usage_source) == ("ok", TOKENS, "provider")


async def test_a_refusal_is_decompressed(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    content = b'{"error": {"message": "their own words"}}'
    upstream.answers(gzip.compress(content), status=400, headers={"content-encoding": "gzip"})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    assert (response.status_code, response.content) == (400, content)
    await check_event(books, secret, 400, "upstream_refused")


async def test_a_stream_is_decompressed_as_it_comes(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        packer = zlib.compressobj(wbits=31)
        await connection.begin_stream({"content-encoding": "gzip"})
        for frame in dialect.frames:
            await connection.chunk(packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH))
        await connection.chunk(packer.flush())
        await connection.end_stream()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    assert (response.status_code, response.content) == (200, dialect.stream)
    assert "content-encoding" not in response.headers
    event = await books.the_event(secret)
    assert (event.status, event.usage, event.usage_source) == ("ok", TOKENS, "provider")


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_undecompressable_answer_is_a_502(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    encoding: str,
    stream: bool,
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        if stream:
            await connection.stream([b"\x8b\x00\x80"], headers={"content-encoding": encoding})
        else:
            await connection.answer(b"\x8b\x00\x80", headers={"content-encoding": encoding})

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


@pytest.mark.parametrize("sent", [b"not compressed at all", b""], ids=["other bytes", "cut short"])
async def test_an_answer_falsely_labelled_as_compressed_is_a_502(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, sent: bytes
) -> None:
    sent = sent or gzip.compress(dialect.answer)[:-20]
    upstream.answers(sent, headers={"content-encoding": "gzip"})
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body())

    dialect.check_error(response, 502, "upstream_unavailable")
    await check_event(books, secret, 502, "upstream_unavailable")


async def test_a_stream_that_stops_decompressing_ends_with_an_error(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        packer = zlib.compressobj(wbits=31)
        await connection.begin_stream({"content-encoding": "gzip"})
        for frame in dialect.frames[:2]:
            await connection.chunk(packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH))
        await connection.chunk(b"not compressed at all")
        await connection.end_stream()

    upstream.does(script)
    secret = await books.add_key()

    response = await gateway.post(dialect.path, secret, dialect.body(stream=True))

    if response.status_code != 200:
        # All of it came at once, so nothing had gone out.
        dialect.check_error(response, 502, "upstream_unavailable")
        await check_event(books, secret, 502, "upstream_unavailable")
        return
    before, error = split_last(response.content)
    assert b"".join(dialect.frames[:2]).startswith(before)
    check_error_frame(dialect, error, response.headers["x-request-id"], 502)
    event = await check_event(books, secret, 200, "upstream_unavailable", TOKENS)
    assert event.usage_source == "estimated"


async def test_an_answer_that_inflates_too_much_is_a_502(
    books: Books, upstream: Upstream, dialect: Dialect, settings_with: SettingsWith
) -> None:
    """Its size is what counts once it is decompressed."""
    upstream.answers(gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"})
    secret = await books.add_key()

    async with open_gateway(settings_with(max_answer_bytes=1_000_000)) as gateway:
        response = await gateway.post(dialect.path, secret, dialect.body())

    error = dialect.check_error(response, 502, "upstream_unavailable")
    assert "larger than" in error["message"]
    await check_event(books, secret, 502, "upstream_unavailable")
