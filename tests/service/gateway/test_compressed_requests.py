"""Compressed requests: served as if they were not, or refused in a way that helps."""

import gzip
import json
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from tests.service.gateway.dialects import Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_request_is_forwarded_decompressed(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, coding: str
) -> None:
    dialect.served_by(upstream, stream=False)
    secret = await books.add_key()
    body = CODINGS[coding](json.dumps(dialect.body("Hi" * 1_000)).encode())
    response = await gateway.post(dialect.path, secret, body, {"content-encoding": coding})
    assert (response.status_code, response.content) == (200, dialect.answer)
    [request] = upstream.requests
    assert request.fields[dialect.prompt_field] == dialect.body("Hi" * 1_000)[dialect.prompt_field]
    assert request.header("content-encoding") is None
    assert (await books.the_event(secret)).status == "ok"


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("br", b"x", 415, "unsupported_content_encoding"),
        ("gzip, gzip", b"x", 415, "unsupported_content_encoding"),
        ("gzip", b"{}", 400, "invalid_request"),
        ("gzip", gzip.compress(b"{}")[:-1], 400, "invalid_request"),
        ("zstd", zstd.compress(bytes(200_000)), 413, "request_too_large"),
        ("gzip", gzip.compress(bytes(20_000_000)), 413, "request_too_large"),
        ("deflate", zlib.compress(b"{"), 400, "invalid_json"),
    ],
    ids=["other", "two", "none", "cut", "bomb in zstd", "bomb in gzip", "no json"],
)
async def test_an_undecodable_request_is_rejected(
    gateway: Client,
    books: Books,
    dialect: Dialect,
    coding: str,
    body: bytes,
    status: int,
    code: str,
) -> None:
    secret = await books.add_key()
    response = await gateway.post(dialect.path, secret, body, {"content-encoding": coding})
    dialect.check_error(response, status, code)
    accepted = "gzip, deflate, zstd" if status == 415 else None
    assert response.headers.get("accept-encoding") == accepted
    event = await books.the_event(secret)
    assert (event.http_status, event.error_code) == (status, code)
