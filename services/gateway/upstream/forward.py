"""Sends an admitted call to its provider: relayed where the formats agree, else translated."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from libs.common.errors import ProviderNotConfigured, UpstreamRefused
from services.gateway.auth import Headers
from services.gateway.call import Call
from services.gateway.formats.base import CallRequest
from services.gateway.settings import Settings
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, JSON_HEADERS, Answer, Stream
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.providers import Target
from services.gateway.upstream.relay import Relay
from services.gateway.upstream.translation.target import TranslationTarget
from services.gateway.upstream.translation.target import UpstreamRefused as TranslationRefused
from services.gateway.upstream.translation.translator import Translator


class Forwarder:
    """Knows both ways; a provider's error comes back as an Answer or as an AppError."""

    def __init__(
        self, relay: Relay, translator: Translator, credentials: Credentials, settings: Settings
    ) -> None:
        self._relay = relay
        self._credentials = credentials
        self._translator = translator
        self._timeout_s = float(settings.upstream_read_timeout_s)

    async def send(
        self, call: Call, request: CallRequest, target: Target, headers: Headers
    ) -> Answer | Stream:
        """Raises UpstreamFailed, UpstreamTimeout or UpstreamRefused."""
        key = self._key_of(target)
        if target.speaks(call.format.name):
            fields = call.format.upstream_fields(request, target.model)
            return await self._relay.call(
                target, call.format.name, key, headers, fields, call.call_id
            )
        return await self._translate(call, request, target, key)

    def _key_of(self, target: Target) -> str | None:
        """None for an endpoint that needs none. Raises ProviderNotConfigured."""
        if target.credential is not None:
            return self._credentials.get(target.credential).reveal()
        if target.api_key:
            return target.api_key.reveal()
        if target.key_variable is not None:
            raise ProviderNotConfigured(
                f"The gateway has no key for provider '{target.provider}': set "
                f"{target.key_variable}."
            )
        return None

    async def _translate(
        self, call: Call, request: CallRequest, target: Target, key: str | None
    ) -> Answer | Stream:
        body: dict[str, Any] = {
            name: msgspec.json.decode(raw) for name, raw in request.fields.items()
        }
        timeout_s = target.timeouts.between_bytes
        destination = TranslationTarget(
            provider=target.provider,
            model=target.model,
            api_base=target.base_url,
            api_key=key,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
        )
        client_format = call.format.name
        try:
            if not request.stream:
                answer = await self._translator.complete(client_format, destination, body)
                return Answer(status=200, headers=JSON_HEADERS, body=answer)
            frames = await self._translator.stream(client_format, destination, body)
        except TranslationRefused as refused:
            raise _as_app_error(refused) from refused
        chunks = _frames(frames)
        return Stream(headers=EVENT_STREAM_HEADERS, chunks=chunks, close=frames.aclose)


async def _frames(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for frame in frames:
            yield frame
    except TranslationRefused as refused:
        raise _as_app_error(refused) from refused


def _as_app_error(refused: TranslationRefused) -> UpstreamRefused:
    after = refused.retry_after
    return UpstreamRefused(
        refused.message,
        status=refused.status,
        code=refused.code,
        retry_after_s=int(after) if after is not None and after.isdecimal() else None,
    )
