"""Calls of providers through LiteLLM, which speaks what no format of ours is."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from time import time
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import (
    AppError,
    InvalidRequest,
    ProviderNotConfigured,
    UpstreamFailed,
    UpstreamTimeout,
)
from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.target import Target
from services.gateway.formats.base import CallRequest
from services.gateway.settings import Settings
from services.gateway.upstream.adapters.fields import sift
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.adapters.translator import LibraryStream, Translator
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, JSON_HEADERS, Stream, WholeAnswer
from services.gateway.upstream.first_frame import Frames
from services.gateway.upstream.headers import changed_headers
from services.gateway.upstream.translation.failures import error_of
from services.gateway.upstream.translation.reply import ReportedError
from services.gateway.upstream.verdict import asked_pause_s

_NO_KEY = "none"
# A provider that is going to fail says so at once; others are not waited for.
_FIRST_FRAME_S = 2.0


class LibraryCalls:
    """A body in one of the client formats goes in, and its answer in the same format comes out."""

    def __init__(self, translator: Translator, settings: Settings) -> None:
        self._translator = translator
        self._timeout_s = float(settings.upstream_read_timeout_s)
        self._total_s = float(settings.upstream_total_timeout_s)

    async def adapt(
        self, client_format: ClientFormat, request: CallRequest, target: Target, key: str | None
    ) -> WholeAnswer | Stream:
        """A client's own body, translated by LiteLLM's adapters.

        Raises UpstreamFailed, UpstreamTimeout or UpstreamRefused.
        """
        body = _decode_body(request)
        dropped: tuple[str, ...] = ()
        destination = self._destination(target, key)
        if target.drop_params:
            body, dropped = sift(client_format, body)
            dropped += await self._unsupported_names(client_format, destination, body)
        answer = await self._answer(
            target,
            lambda: self._translator.complete(client_format, destination, body),
            lambda: self._translator.stream(client_format, destination, body),
            is_stream=bool(body.get("stream")),
        )
        headers = answer.headers + changed_headers(dropped)
        return msgspec.structs.replace(answer, headers=headers)

    async def unknown(
        self, target: Target, key: str | None, body: dict[str, Any]
    ) -> Collection[str]:
        """Those fields of the engine's chat body that LiteLLM has no word for at the provider."""
        return await self._translator.unknown(self._destination(target, key), body)

    async def ask(
        self, body: dict[str, Any], target: Target, key: str | None
    ) -> WholeAnswer | Stream:
        """In chat, with the engine's own body. Raises as `adapt`."""
        destination = msgspec.structs.replace(self._destination(target, key), drop_params=False)
        return await self._answer(
            target,
            lambda: self._translator.answer(destination, body),
            lambda: self._translator.answer_stream(destination, body),
            is_stream=bool(body.get("stream")),
        )

    async def _answer(
        self,
        target: Target,
        complete: Callable[[], Awaitable[bytes]],
        stream: Callable[[], Awaitable[LibraryStream]],
        *,
        is_stream: bool,
    ) -> WholeAnswer | Stream:
        await self._translator.prepare()
        total_s = self._total_s if target.timeouts.total is None else target.timeouts.total
        began = asyncio.get_running_loop().time()
        ends_at = began + total_s
        try:
            async with asyncio.timeout_at(_deadline(ends_at, began, target.timeouts.first_byte)):
                if not is_stream:
                    return WholeAnswer(status=200, headers=JSON_HEADERS, body=await complete())
                frames = Frames(await stream())
                first_bytes = await frames.begin(_FIRST_FRAME_S)
        except TimeoutError:
            raise UpstreamTimeout(
                f"The provider '{target.provider}' did not answer in time."
            ) from None
        except TranslationRefused as refusal:
            raise _as_app_error(refusal) from refusal
        return Stream(
            headers=EVENT_STREAM_HEADERS,
            chunks=_chunks(frames),
            close=frames.aclose,
            ends_at=ends_at,
            first_bytes=first_bytes,
        )

    async def _unsupported_names(
        self, client_format: ClientFormat, destination: TranslationTarget, body: dict[str, Any]
    ) -> tuple[str, ...]:
        try:
            return await self._translator.unsupported(client_format, destination, body)
        except TranslationRefused as refusal:
            raise _as_app_error(refusal) from refusal

    def _destination(self, target: Target, key: str | None) -> TranslationTarget:
        timeout_s = target.timeouts.between_bytes
        if key is None and target.base_url is not None:
            # LiteLLM would take the provider's own key from the environment.
            key = _NO_KEY
        return TranslationTarget(
            provider=target.provider,
            model=target.model,
            api_base=target.base_url,
            api_key=key,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            drop_params=target.drop_params,
        )


def _deadline(ends_at: float, began: float, timeout_s: float | None) -> float:
    return ends_at if timeout_s is None else min(ends_at, began + timeout_s)


def _decode_body(request: CallRequest) -> dict[str, Any]:
    """Raises InvalidRequest for what is JSON and no value, such as a number beyond all bounds."""
    body: dict[str, Any] = {}
    for name, raw in request.fields.items():
        try:
            body[name] = msgspec.json.decode(raw)
        except UNREADABLE as error:
            raise InvalidRequest(f"The field cannot be read: {error}.", param=name[:64]) from None
    return body


async def _chunks(frames: Frames) -> AsyncGenerator[bytes, None]:
    try:
        async for frame in frames:
            yield frame
    except TranslationRefused as refusal:
        raise _as_app_error(refusal) from refusal


def _as_app_error(refusal: TranslationRefused) -> AppError:
    if refusal.code == ProviderNotConfigured.code:
        return ProviderNotConfigured(refusal.message)
    if refusal.cause is not None:
        return UpstreamFailed(refusal.message, cause=refusal.cause)
    retry_after = refusal.retry_after
    headers = [] if retry_after is None else [(b"retry-after", retry_after.encode())]
    return error_of(
        ReportedError(message=refusal.message, status=refusal.status, code=refusal.code),
        asked_pause_s(headers, time()),
    )
