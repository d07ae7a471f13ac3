"""Sends an admitted call to its provider: relayed where the formats agree, else translated."""

import asyncio

import msgspec

from libs.common.errors import ProviderNotConfigured
from libs.common.schemas.usage import Operation
from services.gateway.calls.attempts import Attempt
from services.gateway.calls.call import Call
from services.gateway.calls.target import Target
from services.gateway.formats import FORMATS
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.answer import JSON_HEADERS, Stream, WholeAnswer
from services.gateway.upstream.answer_names import frame_renamer, with_model_name
from services.gateway.upstream.credentials import Credentials
from services.gateway.upstream.early_failures import failure_of_answer, failure_of_stream
from services.gateway.upstream.headers import changed_headers
from services.gateway.upstream.library_calls import LibraryCalls
from services.gateway.upstream.relay import Relay, RelayedRequest
from services.gateway.upstream.translation.engine import (
    LANGUAGES,
    ClientCall,
    Translation,
    closest,
    translate,
)
from services.gateway.upstream.translation.failures import error_of
from services.gateway.upstream.translation.foreign_signatures import without_foreign_signatures
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.profiles import Profiles
from services.gateway.upstream.translation.prompt_counts import (
    COUNT_FORMS,
    call_fields,
    count_body,
    count_in,
    counted_fields,
    estimate_tokens,
)
from services.gateway.upstream.translation.way_back import translated_answer, translated_stream
from services.gateway.upstream.verdict import asked_pause_s
from services.gateway.usage.estimator import Tokenizer

# How servers answer that know the format and do not count.
_NOT_THERE = frozenset({404, 405, 501})
_METHODS: dict[Operation, str] = {
    "retrieve": "GET",
    "delete": "DELETE",
    "cancel": "POST",
    "list_items": "GET",
}
_TRANSLATED_AT_ONCE = 256 * 1024


class Forwarder:
    """Knows all ways; a provider's error comes back as a WholeAnswer or as an AppError."""

    def __init__(
        self,
        relay: Relay,
        library: LibraryCalls,
        profiles: Profiles,
        tokenizer: Tokenizer,
        credentials: Credentials,
    ) -> None:
        self._relay = relay
        self._library = library
        self._profiles = profiles
        self._tokenizer = tokenizer
        self._credentials = credentials

    async def send(self, attempt: Attempt) -> WholeAnswer | Stream:
        """Raises UpstreamFailed, UpstreamTimeout or UpstreamRefused, and InvalidRequest for what
        cannot be translated.
        """
        call, request, target = attempt.call, attempt.request, attempt.target
        if call.operation == "count":
            return await self._count(attempt)
        key = self._key_of(target)
        if call.operation != "create":
            return await self._relay.call(
                RelayedRequest(
                    target=target,
                    format=call.format,
                    key=key,
                    headers=attempt.headers,
                    call_id=call.call_id,
                    tracing=attempt.trace_headers(),
                    method=_METHODS[call.operation],
                    resource=call.resource,
                )
            )
        if target.speaks(call.format.name):
            upstream_request = _relayed_request(attempt, key)
            answer = await self._relay.call(upstream_request)
            if isinstance(answer, Stream) or failure_of_answer(answer) is not None:
                await _raise_early_failure(call, answer)
            if not _thinks_as_asked(upstream_request, request):
                answer = _with_weakened_header(answer)
            return _with_public_name(answer, request, target)
        if call.format.name not in LANGUAGES or target.translation == "library":
            return await self._library.adapt(call.format.name, request, target, key)
        return await self._translate(attempt, key)

    async def _translate(self, attempt: Attempt, key: str | None) -> WholeAnswer | Stream:
        """Through the engine, to what speaks one of its formats, or to LiteLLM's chat."""
        client_call, target = _client_call(attempt), attempt.target
        profile = self._profiles.of(target)
        if sum(map(len, client_call.fields.values())) <= _TRANSLATED_AT_ONCE:
            translation = _translation(client_call, target, profile)
        else:
            # Other calls would have to wait for a large one.
            translation = await asyncio.to_thread(_translation, client_call, target, profile)
        if profile.library is None:
            upstream_request = _engine_request(attempt, translation, key)
            answer = await self._relay.call(upstream_request)
        else:
            # LiteLLM would leave some fields out without a word, and refuse others in its own.
            unknown = await self._library.unknown(target, key, translation.fields)
            fields = msgspec.json.decode(msgspec.json.encode(translation.without(unknown)))
            answer = await self._library.ask(fields, target, key)
        if isinstance(answer, Stream):
            await _raise_early_failure(attempt.call, answer)
            return await translated_stream(translation, answer)
        return translated_answer(translation, answer)

    async def _count(self, attempt: Attempt) -> WholeAnswer | Stream:
        """The provider's own count, else an estimate: not every server counts that speaks."""
        client = attempt.call.format.name
        request, target = attempt.request, attempt.target
        if target.speaks(client):
            answer = await self._relay.call(_relayed_request(attempt, self._key_of(target)))
            if isinstance(answer, Stream) or answer.status not in _NOT_THERE:
                return answer
        client_call = _client_call(attempt)
        client_call = msgspec.structs.replace(
            client_call, fields=call_fields(client, request.fields)
        )
        formats = [name for name in closest(client, tuple(target.paths)) if name in COUNT_FORMS]
        if not formats or target.speaks(client):
            LANGUAGES[client].read_request(client_call.fields)
            tokens = await estimate_tokens(self._tokenizer, request.fields)
            return WholeAnswer(status=200, headers=JSON_HEADERS, body=count_body(client, tokens))
        profile = self._profiles.of(target)
        translation = translate(client_call, target.model, profile, formats, drops=True)
        upstream_request = _engine_request(attempt, translation, self._key_of(target))
        upstream_request = msgspec.structs.replace(
            upstream_request,
            fields=counted_fields(translation.format, translation.fields),
            resource=COUNT_FORMS[translation.format].path,
        )
        answer = await self._relay.call(upstream_request)
        if isinstance(answer, Stream) or answer.status in _NOT_THERE:
            if isinstance(answer, Stream):
                await answer.close()
            tokens = await estimate_tokens(self._tokenizer, request.fields)
        elif answer.status != 200:
            failure = translation.target.read_error(answer.status, answer.body)
            raise error_of(failure, asked_pause_s(answer.headers, client_call.created))
        else:
            tokens = count_in(answer.body)
        return WholeAnswer(status=200, headers=JSON_HEADERS, body=count_body(client, tokens))

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


def _relayed_request(attempt: Attempt, key: str | None) -> RelayedRequest:
    call, target = attempt.call, attempt.target
    return RelayedRequest(
        target=target,
        format=call.format,
        key=key,
        headers=attempt.headers,
        call_id=call.call_id,
        tracing=attempt.trace_headers(),
        fields=without_foreign_signatures(
            call.format.name,
            call.format.upstream_fields(attempt.request, target.model),
            target.provider,
            is_elsewhere=target.defaults_elsewhere is not None,
        ),
        resource=call.resource,
    )


def _thinks_as_asked(upstream_request: RelayedRequest, request: CallRequest) -> bool:
    return (upstream_request.fields or {}).get("thinking") is request.fields.get("thinking")


def _with_weakened_header(answer: WholeAnswer | Stream) -> WholeAnswer | Stream:
    """Says that the model was not let think, amid tools that another provider's had called."""
    headers = [*answer.headers, *changed_headers((), ("thinking",))]
    return msgspec.structs.replace(answer, headers=headers)


def _translation(client_call: ClientCall, target: Target, profile: Profile) -> Translation:
    formats = closest(client_call.client, profile.formats)
    return translate(client_call, target.model, profile, formats, drops=target.drop_params)


def _engine_request(attempt: Attempt, translation: Translation, key: str | None) -> RelayedRequest:
    """None of the client's own headers goes with it."""
    return RelayedRequest(
        target=attempt.target,
        format=FORMATS[translation.format],
        key=key,
        headers=[],
        call_id=translation.call_id,
        tracing=attempt.trace_headers(),
        fields=translation.fields,
    )


def _client_call(attempt: Attempt) -> ClientCall:
    call, request, target = attempt.call, attempt.request, attempt.target
    return ClientCall(
        client=call.format.name,
        fields=request.fields,
        model=target.model if target.answer_model == "served" else request.model,
        created=int(call.started_at.timestamp()),
        call_id=call.call_id,
    )


def _with_public_name(
    answer: WholeAnswer | Stream, request: CallRequest, target: Target
) -> WholeAnswer | Stream:
    """A route's public name is what its answers tell, unless the route says otherwise."""
    if target.answer_model != "asked" or request.model == target.model:
        return answer
    if isinstance(answer, Stream):
        return msgspec.structs.replace(answer, rename=frame_renamer(request.model))
    if answer.status != 200:
        return answer
    return msgspec.structs.replace(answer, body=with_model_name(answer.body, request.model))


async def _raise_early_failure(call: Call, answer: WholeAnswer | Stream) -> None:
    """Raises UpstreamRefused for an error that comes as an answer."""
    if isinstance(answer, WholeAnswer):
        failure = failure_of_answer(answer)
    else:
        failure = failure_of_stream(answer)
        if failure is not None:
            await answer.close()
    if failure is not None:
        raise error_of(failure, asked_pause_s(answer.headers, call.started_at.timestamp()))
