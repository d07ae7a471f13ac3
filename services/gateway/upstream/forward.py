"""Sends an admitted call to its provider: relayed where the formats agree, else translated."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import (
    AppError,
    InvalidRequest,
    ProviderNotConfigured,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from libs.common.schemas.usage import Operation
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.target import Target
from services.gateway.formats.base import CallRequest
from services.gateway.settings import Settings
from services.gateway.upstream.adapters.fields import sifted
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.adapters.translator import Translator
from services.gateway.upstream.answer import (
    EVENT_STREAM_HEADERS,
    JSON_HEADERS,
    Answer,
    Stream,
)
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.early_failures import failure_of_answer, failure_of_stream
from services.gateway.upstream.headers import changed_headers
from services.gateway.upstream.relay import Relay, RelayedRequest
from services.gateway.upstream.translation.failures import error_of
from services.gateway.upstream.translation.foreign_seals import without_foreign_seals

_NO_KEY = "none"
# How servers answer that know the format and do not count.
_NOT_THERE = frozenset({404, 405, 501})
_METHODS: dict[Operation, str] = {
    "retrieve": "GET",
    "delete": "DELETE",
    "cancel": "POST",
    "list_items": "GET",
}


class Forwarder:
    """Knows both ways; a provider's error comes back as an Answer or as an AppError."""

    def __init__(
        self, relay: Relay, translator: Translator, credentials: Credentials, settings: Settings
    ) -> None:
        self._relay = relay
        self._credentials = credentials
        self._translator = translator
        self._timeout_s = float(settings.upstream_read_timeout_s)
        self._total_s = float(settings.upstream_total_timeout_s)

    async def send(
        self, call: Call, request: CallRequest, target: Target, headers: Headers
    ) -> Answer | Stream:
        """Raises UpstreamFailed, UpstreamTimeout or UpstreamRefused."""
        if call.operation == "count":
            return await self._count(call, request, target, headers)
        key = self._key_of(target)
        if call.operation != "create":
            return await self._relay.call(
                RelayedRequest(
                    target=target,
                    format=call.format,
                    key=key,
                    headers=headers,
                    call_id=call.call_id,
                    method=_METHODS[call.operation],
                    resource=call.resource,
                )
            )
        if target.speaks(call.format.name):
            answer = await self._relay.call(_relayed(call, request, target, key, headers))
            return await _without_early_failure(answer)
        return await self._translate(call, request, target, key)

    async def _count(
        self, call: Call, request: CallRequest, target: Target, headers: Headers
    ) -> Answer | Stream:
        """The provider's own count, else an estimate: not every server counts that speaks."""
        client_format = call.format.name
        if target.speaks(client_format):
            key = self._key_of(target)
            answer = await self._relay.call(_relayed(call, request, target, key, headers))
            if isinstance(answer, Stream) or answer.status not in _NOT_THERE:
                return answer
        body = _decoded(request)
        try:
            counted = await self._translator.count(
                client_format, self._destination(target, _NO_KEY), body
            )
        except TranslationRefused as refused:
            raise _as_app_error(refused) from refused
        return Answer(status=200, headers=JSON_HEADERS, body=counted)

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
        client_format = call.format.name
        body = _decoded(request)
        destination = self._destination(target, key)
        await self._translator.prepare()
        dropped: tuple[str, ...] = ()
        total_s = self._total_s if target.timeouts.total is None else target.timeouts.total
        began = asyncio.get_running_loop().time()
        ends_at = began + total_s
        try:
            if target.drop_params:
                body, dropped = sifted(client_format, body)
                dropped += await self._translator.unsupported(client_format, destination, body)
            headers = changed_headers(dropped)
            async with asyncio.timeout_at(_first(ends_at, began, target.timeouts.first_byte)):
                if not request.stream:
                    answer = await self._translator.complete(client_format, destination, body)
                    return Answer(status=200, headers=JSON_HEADERS + headers, body=answer)
                frames = await self._translator.stream(client_format, destination, body)
        except TimeoutError:
            raise UpstreamTimeout(
                f"The provider '{target.provider}' did not answer in time."
            ) from None
        except TranslationRefused as refused:
            raise _as_app_error(refused) from refused
        return Stream(
            headers=EVENT_STREAM_HEADERS + headers,
            chunks=_frames(frames),
            close=frames.aclose,
            ends_at=ends_at,
        )

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


def _relayed(
    call: Call, request: CallRequest, target: Target, key: str | None, headers: Headers
) -> RelayedRequest:
    return RelayedRequest(
        target=target,
        format=call.format,
        key=key,
        headers=headers,
        call_id=call.call_id,
        fields=without_foreign_seals(
            call.format.name,
            call.format.upstream_fields(request, target.model),
            target.provider,
        ),
        resource=call.resource,
    )


async def _without_early_failure(answer: Answer | Stream) -> Answer | Stream:
    """Raises UpstreamRefused for an error that comes as an answer."""
    if isinstance(answer, Answer):
        failure = failure_of_answer(answer)
    else:
        failure = failure_of_stream(answer)
        if failure is not None:
            await answer.close()
    if failure is not None:
        raise error_of(failure, answer.headers)
    return answer


def _first(ends_at: float, began: float, timeout_s: float | None) -> float:
    return ends_at if timeout_s is None else min(ends_at, began + timeout_s)


def _decoded(request: CallRequest) -> dict[str, Any]:
    """Raises InvalidRequest for what is JSON and no value, such as a number beyond all bounds."""
    body: dict[str, Any] = {}
    for name, raw in request.fields.items():
        try:
            body[name] = msgspec.json.decode(raw)
        except UNREADABLE as error:
            raise InvalidRequest(f"The field cannot be read: {error}.", param=name[:64]) from None
    return body


async def _frames(frames: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for frame in frames:
            yield frame
    except TranslationRefused as refused:
        raise _as_app_error(refused) from refused


def _as_app_error(refused: TranslationRefused) -> AppError:
    if refused.code == ProviderNotConfigured.code:
        return ProviderNotConfigured(refused.message)
    if refused.cause is not None:
        return UpstreamFailed(refused.message, cause=refused.cause)
    after = refused.retry_after
    return UpstreamRefused(
        refused.message,
        status=refused.status,
        code=refused.code,
        retry_after_s=int(after) if after is not None and after.isdecimal() else None,
    )
