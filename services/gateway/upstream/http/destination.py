"""The parts that all requests to one address share."""

import asyncio
from functools import cached_property

from aiohttp import hdrs
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from yarl import URL

from services.gateway.calls.headers import Header


class _PooledRequest(ClientRequest):
    """Asked for its key by each request to the address; aiohttp would compose the key each time."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        return super().connection_key


class Destination:
    """An address, and its proxy."""

    def __init__(self, address: str, proxy: str | None, loop: asyncio.AbstractEventLoop) -> None:
        """Raises ValueError for an invalid address."""
        if not address.isprintable():
            # URL parsers remove line breaks, which would change the address.
            raise ValueError("the address of a request holds an unprintable character")
        url = URL(address, encoded=True)
        # The pool's key for connections; never sent.
        self.request = _PooledRequest(
            "POST", url, loop=loop, proxy=None if proxy is None else URL(proxy)
        )
        self._is_forwarded = proxy is not None and not self.request.is_ssl()
        self._target = str(url) if self._is_forwarded else url.raw_path
        self._host = self.request.headers[hdrs.HOST].encode()

    def head(self, method: str, resource: str, headers: list[Header], body_bytes: int) -> bytes:
        """Raises ValueError for a line break in the address or a header."""
        lines = [
            f"{method} {self._target}{resource} HTTP/1.1".encode("latin-1"),
            b"host: " + self._host,
            *[b": ".join(header) for header in headers],
        ]
        if body_bytes or method != "GET":
            lines.append(b"content-length: %d" % body_bytes)
        if self._is_forwarded:
            # The pool sets the proxy's credentials.
            credentials = self.request.headers.get(hdrs.PROXY_AUTHORIZATION)
            if credentials is not None:
                lines.append(f"proxy-authorization: {credentials}".encode())
        head = b"\r\n".join(lines)
        if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines):
            raise ValueError("a header, or the address, of a request holds a line break")
        return head + b"\r\n\r\n"
