"""Compressed bodies are decoded whole and exactly, or refused, and never beyond their bound."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import BodyTooLarge, InvalidRequest, UnsupportedContentCoding
from services.gateway.endpoints.body import ClientDisconnected, read_body
from tests.unit.gateway.test_body import beginning, limits, read, receiver


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


CODINGS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b" X-GZIP ", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "raw deflate": (b"deflate", raw_deflate),
    "zstd": (b"zstd", zstd.compress),
}
_ZEROS = bytes(16 * 1024 * 1024)
every_coding = pytest.mark.parametrize("coding", CODINGS)


def header(name: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-encoding", name)]


@every_coding
@given(
    body=st.binary(max_size=2_000) | st.integers(0, 700_000).map(bytes),
    cuts=st.lists(st.integers(0, 2_000), max_size=4),
)
async def test_a_compressed_body_is_decompressed(coding: str, body: bytes, cuts: list[int]) -> None:
    name, compress = CODINGS[coding]
    data = compress(body)
    places = [0, *sorted(cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(places)]
    assert await read(receiver(*parts), header(name), len(body)) == body
    if body:
        with pytest.raises(BodyTooLarge):
            await read(receiver(*parts), header(name), len(body) - 1)


@every_coding
@given(data=st.data())
async def test_a_truncated_body_is_rejected(coding: str, data: st.DataObject) -> None:
    name, compress = CODINGS[coding]
    body = compress(b"some words and some other words" * 100)
    end = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(InvalidRequest, match="is not valid"):
        await read(receiver(body[:end]), header(name), 10_000)


@every_coding
@given(st.binary(min_size=1, max_size=200))
async def test_arbitrary_bytes_raise_only_client_errors(coding: str, data: bytes) -> None:
    """Or comes out as something, where it happens to be valid."""
    name, _ = CODINGS[coding]
    with suppress(InvalidRequest, BodyTooLarge):
        await read(receiver(data), header(name), 10_000)


@every_coding
@pytest.mark.parametrize("split", [False, True])
async def test_trailing_bytes_are_rejected(coding: str, split: bool) -> None:
    name, compress = CODINGS[coding]
    parts = [compress(b"{}"), b"more"] if split else [compress(b"{}") + b"more"]
    with pytest.raises(InvalidRequest, match="is not valid"):
        await read(receiver(*parts), header(name), 10_000)


@every_coding
async def test_a_decompression_bomb_stops_at_the_bound(coding: str) -> None:
    """Far less memory is taken than it would fill."""
    name, compress = CODINGS[coding]
    bomb = compress(_ZEROS)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await read(receiver(bomb), header(name), 1024 * 1024)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(_ZEROS) / 2


@every_coding
async def test_decoding_yields_to_other_tasks(coding: str) -> None:
    name, compress = CODINGS[coding]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await read(receiver(compress(bytes(4 * 1024 * 1024))), header(name), 4 * 1024 * 1024)
    task.cancel()
    assert turns > 10


async def test_an_oversized_window_is_rejected() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(b"{}") + compressor.flush()
    with pytest.raises(InvalidRequest, match="not valid zstd"):
        await read(receiver(body), header(b"zstd"), 10_000)


async def test_a_small_body_is_one_part() -> None:
    """So that nobody asks whether more of it is late."""
    begin, lease_requests, _ = beginning()
    body = await read_body(receiver(gzip.compress(b"{}")), header(b"gzip"), limits(99), begin)
    assert (body, lease_requests) == (b"{}", [])


async def test_a_client_that_disconnects_in_mid_body_is_reported() -> None:
    data = gzip.compress(b"{}")
    with pytest.raises(ClientDisconnected):
        await read(receiver(data[:5], disconnect=True), header(b"gzip"), 99)


async def test_an_identity_body_is_unchanged() -> None:
    for name in (b"identity", b"", b" Identity "):
        assert await read(receiver(b"{}"), header(name), 9) == b"{}"


@pytest.mark.parametrize("name", [b"br", b"gzip, gzip", b"gzip,", b"\xff", b"compress"])
async def test_other_codings_are_rejected_unread(name: bytes) -> None:
    with pytest.raises(UnsupportedContentCoding, match="gzip, deflate, zstd"):
        await read(receiver(), header(name), 9)


async def test_repeated_coding_headers_are_several_codings() -> None:
    with pytest.raises(UnsupportedContentCoding):
        await read(receiver(), [*header(b"identity"), *header(b"gzip")], 9)
