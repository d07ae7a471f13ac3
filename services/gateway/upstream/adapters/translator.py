"""The gateway's side of a translated call: a client's body in, bytes in the client's format out."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters import chat, embeddings, messages, responses
from services.gateway.upstream.adapters.chat_stream import ChatStream
from services.gateway.upstream.adapters.errors import refusals
from services.gateway.upstream.adapters.fields import carried_fields, check_provider
from services.gateway.upstream.adapters.library import LazyLibrary, Library
from services.gateway.upstream.adapters.library_terms import AnswerTerms, library_fields
from services.gateway.upstream.adapters.target import TranslationTarget

_encode = msgspec.json.Encoder().encode
# Translations to Anthropic are written for this version; later ones refuse sampling parameters.
_ANTHROPIC_VERSION = {"anthropic-version": "2023-06-01"}


class Translator:
    """Made once in the lifespan; LiteLLM is imported by the first call."""

    def __init__(self) -> None:
        self._library = LazyLibrary()

    async def prepare(self) -> None:
        """Imports LiteLLM ahead of a call, whose time the import would take."""
        await self._library.get()

    async def unsupported(
        self, client_format: ClientFormat, target: TranslationTarget, body: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """The fields of a chat call that LiteLLM leaves out where `drop_params` lets it."""
        if not _ADAPTERS[client_format].has_library_names:
            return ()
        return await self._unsupported_names(target, carried_fields(client_format, body))

    async def unknown(self, target: TranslationTarget, body: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields of the engine's chat body that LiteLLM has no word for at the provider."""
        fields = library_fields(body)
        fields.pop("top_k", None)
        return await self._unsupported_names(target, fields)

    async def _unsupported_names(
        self, target: TranslationTarget, names: Iterable[str]
    ) -> tuple[str, ...]:
        library = await self._library.get()
        supported = library.supported_params(target.model, custom_llm_provider=target.provider)
        if supported is None:
            return ()
        known = {"messages", *supported}
        return tuple(name for name in names if name not in known)

    async def answer(self, target: TranslationTarget, body: Mapping[str, Any]) -> bytes:
        """A JSON answer in chat to the engine's own chat body. Raises TranslationRefused."""
        library = await self._library.get()
        with refusals(target):
            answer = await _complete(library, target, chat.chat_request(library_fields(body)))
            return chat.chat_completion(answer, AnswerTerms(target))

    async def answer_stream(
        self, target: TranslationTarget, body: Mapping[str, Any]
    ) -> "LibraryStream":
        """As `stream`, of the engine's own chat body, in chat."""
        library = await self._library.get()
        with refusals(target):
            stream = await _stream(library, target, chat.chat_request(library_fields(body)))
            frames = chat.chat_frames(stream, AnswerTerms(target))
        return LibraryStream(stream, frames, target)

    async def complete(
        self, client_format: ClientFormat, target: TranslationTarget, body: Mapping[str, Any]
    ) -> bytes:
        """One JSON answer in the client's format. Raises TranslationRefused."""
        fields = carried_fields(client_format, body)
        check_provider(client_format, target, fields)
        library = await self._library.get()
        with refusals(target):
            adapter = _ADAPTERS[client_format]
            call = adapter.call(library, target, fields, body)
            return call.answer(await adapter.ask(library, target, call.fields))

    async def stream(
        self, client_format: ClientFormat, target: TranslationTarget, body: Mapping[str, Any]
    ) -> "LibraryStream":
        """Whole SSE frames in the client's format, the terminal ones included.

        Raises TranslationRefused before it returns if the provider refuses, and out of the iterator
        if the provider breaks off. Closing the iterator closes the provider's connection.
        """
        fields = carried_fields(client_format, body)
        check_provider(client_format, target, fields)
        library = await self._library.get()
        with refusals(target):
            call = _ADAPTERS[client_format].call(library, target, fields, body)
            stream = await _stream(library, target, call.fields)
        return LibraryStream(stream, call.frames(stream), target)

    async def close(self) -> None:
        """Closes the connections to providers."""
        await self._library.close()


class LibraryStream:
    """The frames of one answer. It closes itself at the end, on a failure and when cancelled.

    Not a generator: one that was never started runs no `finally`, and would leave the provider's
    connection open when the client is gone before the first frame.
    """

    def __init__(
        self, source: ChatStream, frames: AsyncGenerator[bytes, None], target: TranslationTarget
    ) -> None:
        self._source = source
        self._frames = frames
        self._target = target

    def __aiter__(self) -> "LibraryStream":
        return self

    async def __anext__(self) -> bytes:
        """Raises TranslationRefused where the provider breaks off."""
        try:
            with refusals(self._target):
                return await anext(self._frames)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        await self._frames.aclose()
        await self._source.aclose()


class _LibraryCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call in LiteLLM's words, and its answers in the client's format."""

    fields: Mapping[str, Any]
    answer: Callable[[Any], bytes]
    frames: Callable[[ChatStream], AsyncGenerator[bytes, None]]


class _Adapter(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of a format go through LiteLLM: with the fields that are carried, and the body.

    If `has_library_names`, what LiteLLM lists as a provider's parameters are the format's fields.
    """

    call: Callable[[Library, TranslationTarget, Mapping[str, Any], Mapping[str, Any]], _LibraryCall]
    ask: Callable[[Library, TranslationTarget, Mapping[str, Any]], Awaitable[Any]]
    has_library_names: bool = False


def _chat(
    _: Library, target: TranslationTarget, fields: Mapping[str, Any], body: Mapping[str, Any]
) -> _LibraryCall:
    del target, body
    return _LibraryCall(
        fields=chat.chat_request(fields), answer=chat.chat_completion, frames=chat.chat_frames
    )


def _messages(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any], body: Mapping[str, Any]
) -> _LibraryCall:
    del body
    request = messages.chat_request(library, target, fields)
    return _LibraryCall(
        fields=request.fields,
        answer=lambda answer: messages.message(library, answer, request),
        frames=lambda stream: messages.message_frames(library, stream, request, target),
    )


def _responses(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any], body: Mapping[str, Any]
) -> _LibraryCall:
    chat_fields = responses.chat_request(library, target, fields)
    tools = responses.flattened_tools(library, fields)
    return _LibraryCall(
        fields=chat_fields,
        answer=lambda answer: responses.response(answer, body, tools),
        frames=lambda stream: responses.response_frames(stream, body, tools),
    )


def _embeddings(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any], body: Mapping[str, Any]
) -> _LibraryCall:
    del body
    return _LibraryCall(
        fields=embeddings.embedding_request(library, target, fields),
        answer=lambda answer: embeddings.embedding_list(answer, fields, target),
        frames=chat.chat_frames,
    )


async def _embed(library: Library, target: TranslationTarget, fields: Mapping[str, Any]) -> Any:
    return await library.aembedding(**fields, **_control(target))


async def _complete(library: Library, target: TranslationTarget, fields: Mapping[str, Any]) -> Any:
    return await library.acompletion(**fields, **_chat_control(target), stream=False)


_ADAPTERS: Mapping[ClientFormat, _Adapter] = {
    "chat": _Adapter(call=_chat, ask=_complete, has_library_names=True),
    "messages": _Adapter(call=_messages, ask=_complete),
    "responses": _Adapter(call=_responses, ask=_complete),
    "embeddings": _Adapter(call=_embeddings, ask=_embed),
}


async def _stream(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any]
) -> ChatStream:
    source = await library.acompletion(
        **fields, **_chat_control(target), stream=True, stream_options={"include_usage": True}
    )
    stream = ChatStream(source, target)
    await stream.open()
    return stream


def _control(target: TranslationTarget) -> dict[str, Any]:
    """LiteLLM's own parameters: they come from the route alone, and nothing is tried twice."""
    return {
        "model": f"{target.provider}/{target.model}",
        **({"extra_headers": _ANTHROPIC_VERSION} if target.provider == "anthropic" else {}),
        "api_base": _api_base(target),
        "api_key": target.api_key,
        "timeout": target.timeout_s,
        "drop_params": target.drop_params,
        "num_retries": 0,
        "max_retries": 0,
    }


def _chat_control(target: TranslationTarget) -> dict[str, Any]:
    # The gateway that runs the tools of an MCP server would be this process.
    return {**_control(target), "_skip_mcp_handler": True}


def _api_base(target: TranslationTarget) -> str | None:
    """LiteLLM appends `/v1/messages` to Anthropic's base, whether or not it ends in `/v1`."""
    if target.api_base is not None and target.provider == "anthropic":
        return target.api_base.rstrip("/").removesuffix("/v1")
    return target.api_base
