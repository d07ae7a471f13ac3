"""Relays bytes to a provider that speaks the client's format, and its answer back."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from libs.common.errors import AppError, UpstreamFailed, UpstreamTimeout
from libs.common.schemas.route import Timeouts
from services.gateway.calls.headers import Headers
from services.gateway.calls.sent_headers import sent_headers
from services.gateway.calls.target import Target
from services.gateway.formats.base import Format
from services.gateway.settings import Settings
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.headers import request_headers, response_headers
from services.gateway.upstream.http.client import RequestTimeouts, UpstreamClient, UpstreamResponse
from services.gateway.upstream.http.connections import Connector, is_unreachable

_encode = msgspec.json.encode
_NO_TIMEOUTS = Timeouts()
# Waits this long for an early failure; slower answers are streamed at once.
_FIRST_BYTES_S = 2.0
# The codings that the HTTP client decodes without further libraries.
_READABLE_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})


class RelayedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`resource` follows the format's path; without `fields` the request has no body.

    `headers` are the client's, of which few are sent; `tracing` is the attempt's, and is sent.
    """

    target: Target
    format: Format
    key: str | None
    headers: Headers
    call_id: str
    tracing: Headers
    fields: dict[str, Any] | None = None
    method: str = "POST"
    resource: str = ""


class Relay:
    """All providers share one pool of connections. Limits and timeouts come from the settings."""

    def __init__(self, client: UpstreamClient, settings: Settings) -> None:
        self._client = client
        self._max_answer_bytes = settings.max_answer_bytes
        self._sent_headers = sent_headers(settings.upstream_request_headers)
        self._timeouts = RequestTimeouts(
            connect_s=float(settings.upstream_connect_timeout_s),
            between_bytes_s=float(settings.upstream_read_timeout_s),
            first_byte_s=float(settings.upstream_read_timeout_s),
            total_s=float(settings.upstream_total_timeout_s),
        )

    async def call(self, request: RelayedRequest) -> WholeAnswer | Stream:
        """Raises UpstreamFailed or UpstreamTimeout without a usable answer."""
        target, client_format = request.target, request.format
        try:
            response = await self._client.request(
                request.method,
                f"{target.base_url}{target.paths[client_format.name]}",
                request_headers(
                    self._sent_headers[client_format.name],
                    client_format.headers,
                    request.key,
                    request.headers,
                    request.call_id,
                )
                + request.tracing,
                b"" if request.fields is None else _encode(request.fields),
                self._timeouts_with(target.timeouts),
                resource=request.resource,
            )
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamTimeout(_late_message(target.provider), cause="unreachable") from None
        except TimeoutError:
            raise UpstreamTimeout(_late_message(target.provider)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed(
                f"The provider '{target.provider}' could not be reached: {type(error).__name__}.",
                cause="unreachable" if is_unreachable(error) else None,
            ) from error
        return await self._answer(response, target.provider)

    def _timeouts_with(self, timeouts: Timeouts) -> RequestTimeouts:
        if timeouts == _NO_TIMEOUTS:
            return self._timeouts
        route_timeouts = {
            "connect_s": timeouts.connect,
            "between_bytes_s": timeouts.between_bytes,
            "first_byte_s": timeouts.first_byte,
            "total_s": timeouts.total,
        }
        changes = {name: seconds for name, seconds in route_timeouts.items() if seconds is not None}
        return msgspec.structs.replace(self._timeouts, **changes)

    async def _answer(self, response: UpstreamResponse, provider: str) -> WholeAnswer | Stream:
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in _READABLE_ENCODINGS:
            response.close()
            raise UpstreamFailed(
                f"The provider compressed its answer although it was asked not to: {encoding[:32]}."
            )
        headers = response_headers(response.raw_headers)
        request_id = response.headers.get("x-request-id") or response.headers.get("request-id")
        if response.status == 200 and response.media_type == "text/event-stream":
            try:
                first_bytes = await _read(response.begin(_FIRST_BYTES_S), provider)
            except BaseException:
                response.close()
                raise
            return Stream(
                headers=headers,
                chunks=_chunks(response, provider),
                close=_closer(response),
                provider_request_id=request_id,
                ends_at=response.ends_at,
                first_bytes=first_bytes,
            )
        try:
            body = response.arrived()
            if body is None:
                body = await self._read_whole(response, provider)
            elif len(body) > self._max_answer_bytes:
                raise self._too_large()
        finally:
            response.release()
        return WholeAnswer(
            status=response.status, headers=headers, body=body, provider_request_id=request_id
        )

    async def _read_whole(self, response: UpstreamResponse, provider: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await _read(response.read(), provider):
            size += len(part)
            if size > self._max_answer_bytes:
                raise self._too_large()
            parts.append(part)
        return b"".join(parts)

    def _too_large(self) -> UpstreamFailed:
        return UpstreamFailed(
            f"The provider's answer is larger than {self._max_answer_bytes} bytes."
        )


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[UpstreamClient]:
    """The one HTTP client of the process."""
    connector = Connector(limit=settings.upstream_max_connections)
    async with connector:
        yield UpstreamClient(connector)


async def _chunks(response: UpstreamResponse, provider: str) -> AsyncGenerator[bytes, None]:
    try:
        while chunk := await response.read():
            yield chunk
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _broken_off(error, provider) from error


async def _read(reading: Awaitable[bytes], provider: str) -> bytes:
    try:
        return await reading
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise _broken_off(error, provider) from error


def _broken_off(error: Exception, provider: str) -> AppError:
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(_late_message(provider))
    return UpstreamFailed(f"The provider's answer broke off: {type(error).__name__}.")


def _closer(response: UpstreamResponse) -> Any:
    async def close() -> None:
        # Keeps the connection if the stream was read to its end, and closes it otherwise.
        response.release()

    return close


def _late_message(provider: str) -> str:
    return f"The provider '{provider}' did not answer in time."
