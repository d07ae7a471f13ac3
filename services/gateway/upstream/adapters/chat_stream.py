"""LiteLLM's chat stream, told apart from what LiteLLM makes up.

Where the provider reports no usage LiteLLM counts tokens itself and passes the estimate off as
reported, and where the provider's stream ends early it says that the model stopped. Its own list
of what came from the provider tells the difference.
"""

from collections.abc import AsyncIterator
from typing import Any

from services.gateway.upstream.adapters.errors import truncated
from services.gateway.upstream.adapters.target import TranslationTarget
from services.gateway.upstream.adapters.usage import served_tier
from services.gateway.upstream.adapters.watched_stream import GoogleLines, WatchedChunks

_GEMINI = "vertex_ai.gemini"


class ChatStream:
    """Iterates the chunks once. Raises TranslationRefused where the stream is cut short."""

    def __init__(self, source: Any, target: TranslationTarget) -> None:
        self._source = source
        self._target = target
        self._usage: Any = None
        self._is_finished = False
        self._watched: WatchedChunks | None = None
        self._google: GoogleLines | None = None
        self._lines: Any = None

    async def open(self) -> None:
        """Some providers' calls start with the first chunk: start them, so refusals show."""
        if self._source.completion_stream is None:
            await self._source.fetch_stream()
        chunks = self._source.completion_stream
        self._lines = getattr(chunks, "streaming_response", None)
        if _GEMINI in type(chunks).__module__:
            self._google = GoogleLines(self._lines)
            chunks.streaming_response = self._google
        self._watched = WatchedChunks(chunks)
        self._source.completion_stream = self._watched

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._chunks()

    @property
    def usage(self) -> Any:
        """LiteLLM's usage, complete once the stream has ended; None if none was reported."""
        has_usage = any(getattr(chunk, "usage", None) is not None for chunk in self._source.chunks)
        if self._watched is not None and self._watched.is_readable:
            has_usage = self._watched.has_usage
        return self._usage if has_usage else None

    @property
    def own_end(self) -> str | None:
        """Google's own finish reason."""
        return None if self._google is None else self._google.end

    @property
    def service_tier(self) -> str | None:
        tiers = (
            served_tier(chunk, getattr(chunk, "usage", None))
            for chunk in reversed(self._source.chunks)
        )
        return next((tier for tier in tiers if tier is not None), None)

    async def aclose(self) -> None:
        await self._source.aclose()
        await _close_response_of(self._lines)

    async def _chunks(self) -> AsyncIterator[Any]:
        async for chunk in self._source:
            self._usage = getattr(chunk, "usage", None) or self._usage
            if any(choice.finish_reason is not None for choice in chunk.choices):
                self._check_finished()
            yield chunk
        self._check_finished()

    def _check_finished(self) -> None:
        if self._google is not None:
            self._is_finished = self._google.end is not None and not self._google.is_broken
        elif self._watched is not None and self._watched.is_readable:
            self._is_finished = self._watched.has_ended
        else:
            self._is_finished = self._is_finished or any(
                choice.finish_reason is not None
                for chunk in self._source.chunks
                for choice in getattr(chunk, "choices", ())
            )
        if not self._is_finished:
            raise truncated(self._target)


async def _close_response_of(lines: Any) -> None:
    """Of some providers' responses LiteLLM keeps only `aiter_lines()`, and closing that leaves the
    provider's connection open; the response is in the frame of the generator that it belongs to.
    """
    frame = getattr(lines, "ag_frame", None)
    response = None if frame is None else frame.f_locals.get("self")
    if response is not None:
        await response.aclose()
