"""Requests as they are on the wire, and those that are never sent."""

import asyncio

import pytest

from services.gateway.upstream.http.client import UpstreamClient
from services.gateway.upstream.http.destination import Destination
from tests.service.gateway.http_client.asking import PATIENT, answer_of, whole
from tests.service.gateway.http_client.wire import always, answer, on_first, serving


async def test_the_bytes_of_a_request(client: UpstreamClient) -> None:
    headers = [(b"B", b"2"), (b"a", b"\xff 1"), (b"b", b""), (b"content-type", b"application/json")]
    async with serving(always(answer(b"good"))) as provider:
        response = await client.request(
            "POST", provider.address, headers, b'{"a": 1}\n', PATIENT, resource="?beta=true&n=\xe4"
        )
        assert await whole(response) == b"good"

    assert provider.requests == [
        b"POST /v1/chat?beta=true&n=\xe4 HTTP/1.1\r\n"
        b"host: 127.0.0.1:%d\r\n"
        b"B: 2\r\n"
        b"a: \xff 1\r\n"
        b"b: \r\n"
        b"content-type: application/json\r\n"
        b"content-length: 9\r\n"
        b"\r\n"
        b'{"a": 1}\n' % provider.port
    ]


@pytest.mark.parametrize(
    ("method", "length"),
    [("GET", b""), ("POST", b"content-length: 0\r\n"), ("DELETE", b"content-length: 0\r\n")],
)
async def test_a_request_without_a_body(client: UpstreamClient, method: str, length: bytes) -> None:
    async with serving(always(answer(b"good"))) as provider:
        response = await client.request(
            method, provider.address, [(b"a", b"1")], b"", PATIENT, resource="/resp_1/input_items"
        )
        assert await whole(response) == b"good"
        # Nothing follows it, or it would be part of this one.
        assert await answer_of(client, provider.address) == b"good"

    first, second = provider.requests
    host = b"host: 127.0.0.1:%d\r\n" % provider.port
    path = b"/v1/chat/resp_1/input_items"
    assert first == b"%b %b HTTP/1.1\r\n%ba: 1\r\n%b\r\n" % (method.encode(), path, host, length)
    assert second.startswith(b"POST /v1/chat HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("address", "target", "host"),
    [
        ("http://api.example/v1", b"/v1", b"api.example"),
        ("http://api.example", b"/", b"api.example"),
        ("http://api.example:80/v1", b"/v1", b"api.example"),
        ("https://api.example:443/v1", b"/v1", b"api.example"),
        ("http://api.example:443/v1", b"/v1", b"api.example:443"),
        ("https://api.example:8443/a%2Fb/v1", b"/a%2Fb/v1", b"api.example:8443"),
        ("http://[::1]/v1", b"/v1", b"[::1]"),
        ("http://[2001:db8::2]:8000/v1", b"/v1", b"[2001:db8::2]:8000"),
    ],
)
async def test_the_host_header_matches_the_url(address: str, target: bytes, host: bytes) -> None:
    destination = Destination(address, None, asyncio.get_running_loop())

    assert destination.head("GET", "", [], 0) == (
        b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, host)
    )


LINE_BREAKS = ["\r", "\n", "\r\n", "\r\nx: y\r\n\r\nPOST /smuggled HTTP/1.1\r\n"]


@pytest.mark.parametrize("line_break", LINE_BREAKS)
@pytest.mark.parametrize("part", ["method", "path", "resource", "name", "value"])
async def test_line_breaks_in_headers_are_rejected(
    client: UpstreamClient, part: str, line_break: str
) -> None:
    """Neither is any other of its bytes."""
    parts = dict.fromkeys(("method", "path", "resource", "name", "value"), "")
    parts[part] = f"a{line_break}b"

    async with serving(always(answer(b"good"))) as provider:
        for _ in range(3):
            with pytest.raises(ValueError, match=r"line break|unprintable"):
                await client.request(
                    "POST" + parts["method"],
                    provider.address + parts["path"],
                    [(b"x" + parts["name"].encode(), b"y" + parts["value"].encode()), (b"a", b"1")],
                    b"{}",
                    PATIENT,
                    resource="?q=" + parts["resource"],
                )
        assert await answer_of(client, provider.address) == b"good"

    assert len(provider.requests) == 1
    assert provider.torn == b""


async def test_non_latin_1_urls_are_rejected(client: UpstreamClient) -> None:
    async with serving(on_first(always(answer(b"good")))) as provider:
        with pytest.raises(ValueError, match="latin-1"):
            await client.request(
                "POST", provider.address, [], b"{}", PATIENT, resource="?q=\N{EURO SIGN}"
            )
        assert await answer_of(client, provider.address) == b"good"

    assert provider.torn == b""
