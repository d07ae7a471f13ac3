"""Sends an admitted call to its provider: relayed where the formats agree, else translated."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from libs.common.errors import UpstreamRefused
from services.gateway.auth import Headers
from services.gateway.call import Call
from services.gateway.formats.base import CallRequest
from services.gateway.settings import Settings
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, JSON_HEADERS, Answer, Stream
from services.gateway.upstream.providers import Provider, Target
from services.gateway.upstream.relay import Relay
from services.gateway.upstream.translation.target import TranslationTarget
from services.gateway.upstream.translation.target import UpstreamRefused as TranslationRefused
from services.gateway.upstream.translation.translator import Translator


class Forwarder:
    """Knows both ways; a provider's error comes back as an Answer or as an AppError."""

    def __init__(self, relay: Relay, translator: Translator, settings: Settings) -> None:
        self._relay = relay
        self._translator = translator
        self._timeout_s = float(settings.upstream_read_timeout_s)

    async def send(
        self, call: Call, request: CallRequest, target: Target, headers: Headers
    ) -> Answer | Stream:
        """Raises UpstreamFailed, UpstreamTimeout or UpstreamRefused."""
        native = target.native
        if native is not None and native.speaks(call.format.name):
            fields = call.format.upstream_fields(request, target.model)
            url = native.base_url + native.paths[call.format.name]
            return await self._relay.call(native, url, headers, fields, call.call_id)
        return await self._translate(call, request, target, native)

    async def _translate(
        self, call: Call, request: CallRequest, target: Target, native: Provider | None
    ) -> Answer | Stream:
        body: dict[str, Any] = {
            name: msgspec.json.decode(raw) for name, raw in request.fields.items()
        }
        destination = TranslationTarget(
            provider=target.provider,
            model=target.model,
            api_base=None if native is None else native.base_url,
            api_key=None if native is None else native.require_key(),
            timeout_s=self._timeout_s,
        )
        client_format = call.format.name
        try:
            if not request.stream:
                answer = await self._translator.complete(client_format, destination, body)
                return Answer(status=200, headers=JSON_HEADERS, body=answer)
            frames = await self._translator.stream(client_format, destination, body)
        except TranslationRefused as refused:
            raise _as_app_error(refused) from refused
        return Stream(headers=EVENT_STREAM_HEADERS, chunks=_frames(frames), close=_closer(frames))


async def _frames(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for frame in frames:
            yield frame
    except TranslationRefused as refused:
        raise _as_app_error(refused) from refused


def _closer(frames: AsyncIterator[bytes]) -> Any:
    async def close() -> None:
        aclose = getattr(frames, "aclose", None)
        if aclose is not None:
            await aclose()

    return close


def _as_app_error(refused: TranslationRefused) -> UpstreamRefused:
    after = refused.retry_after
    return UpstreamRefused(
        refused.message,
        status=refused.status,
        code=refused.code,
        retry_after_s=int(after) if after is not None and after.isdecimal() else None,
    )
