"""The native relay: bytes in, bytes out, for a provider that speaks the client's format."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import Any

import aiohttp
import msgspec

from libs.common.errors import UpstreamFailed, UpstreamTimeout
from libs.common.schemas.route import Timeouts
from libs.common.schemas.usage import ClientFormat
from services.gateway.auth import Headers
from services.gateway.settings import Settings
from services.gateway.upstream.answer import Answer, Stream
from services.gateway.upstream.headers import request_headers, response_headers
from services.gateway.upstream.http_client import HttpClient, Response
from services.gateway.upstream.providers import Target

_encode = msgspec.json.encode
_NO_TIMEOUTS = Timeouts()
# What the HTTP client undoes without further libraries.
_READABLE_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})


class Relay:
    """One pool of connections for all providers; limits and timeouts come from the settings."""

    def __init__(self, client: HttpClient, settings: Settings) -> None:
        self._client = client
        self._max_answer_bytes = settings.max_answer_bytes
        self._timeout = aiohttp.ClientTimeout(
            total=settings.upstream_total_timeout_s,
            connect=settings.upstream_total_timeout_s,
            sock_connect=settings.upstream_connect_timeout_s,
            sock_read=settings.upstream_read_timeout_s,
        )
        self._between_s = float(settings.upstream_read_timeout_s)

    async def call(
        self,
        target: Target,
        client_format: ClientFormat,
        key: str | None,
        headers: Headers,
        fields: dict[str, Any] | None,
        call_id: str,
        *,
        method: str = "POST",
        resource: str = "",
    ) -> Answer | Stream:
        """`resource` follows the format's path; without fields the request has no body.

        Raises UpstreamFailed or UpstreamTimeout where no usable answer comes.
        """
        timeouts = target.timeouts
        first_by = None
        if timeouts.first_byte is not None:
            first_by = asyncio.get_running_loop().time() + timeouts.first_byte
        try:
            async with nullcontext() if first_by is None else asyncio.timeout_at(first_by):
                response = await self._client.request(
                    method,
                    f"{target.base_url}{target.paths[client_format]}",
                    request_headers(client_format, key, headers, call_id),
                    b"" if fields is None else _encode(fields),
                    self._timeout_of(timeouts),
                    resource=resource,
                )
            chunks = _chunks(response, target.provider)
            if timeouts != _NO_TIMEOUTS:
                between_s = timeouts.between_bytes
                if between_s is None:
                    between_s = self._between_s
                chunks = _timed(chunks, first_by, between_s, target.provider)
            return await self._answer(response, chunks)
        except TimeoutError:
            raise _timeout(target.provider) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(
                f"The provider '{target.provider}' could not be reached: {type(error).__name__}."
            ) from error

    def _timeout_of(self, timeouts: Timeouts) -> aiohttp.ClientTimeout:
        if timeouts == _NO_TIMEOUTS:
            return self._timeout
        ours = self._timeout
        total = ours.total if timeouts.total is None else timeouts.total
        return aiohttp.ClientTimeout(
            total=total,
            connect=total,
            sock_connect=ours.sock_connect if timeouts.connect is None else timeouts.connect,
            # It would also cut short the wait for the first byte, which has a limit of its own.
            sock_read=ours.sock_read if timeouts.first_byte is None else None,
        )

    async def _answer(
        self, response: Response, chunks: AsyncGenerator[bytes, None]
    ) -> Answer | Stream:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in _READABLE_ENCODINGS:
            response.release()
            raise UpstreamFailed(
                f"The provider compressed its answer although it was asked not to: {encoding[:32]}."
            )
        headers = response_headers(response.raw_headers)
        request_id = response.headers.get("x-request-id") or response.headers.get("request-id")
        if response.status == 200 and response.media_type == "text/event-stream":
            return Stream(
                headers=headers,
                chunks=chunks,
                close=_closer(response),
                provider_request_id=request_id,
            )
        with response:
            body = await _bounded(chunks, self._max_answer_bytes)
        return Answer(
            status=response.status, headers=headers, body=body, provider_request_id=request_id
        )


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[HttpClient]:
    """The one HTTP client of the process."""
    async with aiohttp.TCPConnector(
        limit=settings.upstream_max_connections, keepalive_timeout=60, ttl_dns_cache=30
    ) as connector:
        yield HttpClient(connector)


async def _bounded(chunks: AsyncGenerator[bytes, None], limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for part in chunks:
            size += len(part)
            if size > limit:
                raise UpstreamFailed(f"The provider's answer is larger than {limit} bytes.")
            parts.append(part)
    return b"".join(parts)


async def _chunks(response: Response, provider: str) -> AsyncGenerator[bytes, None]:
    try:
        while chunk := await response.content.readany():
            yield chunk
    except TimeoutError:
        raise _timeout(provider) from None
    except (aiohttp.ClientError, OSError) as error:
        raise UpstreamFailed(f"The provider's answer broke off: {type(error).__name__}.") from error


async def _timed(
    chunks: AsyncGenerator[bytes, None],
    first_by: float | None,
    between_s: float,
    provider: str,
) -> AsyncGenerator[bytes, None]:
    """The chunks; the first one is there by `first_by` of the loop's clock, where that is set."""
    loop = asyncio.get_running_loop()
    until = first_by
    async with aclosing(chunks):
        while True:
            try:
                async with asyncio.timeout_at(until):
                    chunk = await anext(chunks, b"")
            except TimeoutError:
                raise _timeout(provider) from None
            if not chunk:
                return
            yield chunk
            until = loop.time() + between_s


def _closer(response: Response) -> Any:
    async def close() -> None:
        # Reuses the connection when the stream was read to its end, and drops it otherwise.
        response.release()

    return close


def _timeout(provider: str) -> UpstreamTimeout:
    return UpstreamTimeout(f"The provider '{provider}' did not answer in time.")
