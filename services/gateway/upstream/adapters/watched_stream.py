"""Watches a provider's stream before LiteLLM adds an end of its own."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from libs.common.decode_errors import UNREADABLE

_DATA = "data:"
_DONE = "[DONE]"


class WatchedChunks:
    """A provider's chunks as LiteLLM reads them. Not `is_readable`: of a kind that is not known."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._chunks: AsyncIterator[Any] | None = None
        self.is_readable = True
        self.has_ended = False
        self.has_usage = False

    def __getattr__(self, name: str) -> Any:
        # LiteLLM asks the stream for more than its chunks; by closing it, for the connection's end.
        return getattr(self._source, name)

    def __aiter__(self) -> "WatchedChunks":
        return self

    async def __anext__(self) -> Any:
        if self._chunks is None:
            self._chunks = aiter(self._source)
        chunk = await anext(self._chunks)
        if isinstance(chunk, Mapping):
            is_last = bool(chunk.get("is_finished") or chunk.get("finish_reason"))
            usage = chunk.get("usage")
        elif hasattr(chunk, "choices"):
            is_last = any(choice.finish_reason is not None for choice in chunk.choices or ())
            usage = getattr(chunk, "usage", None)
        else:
            self.is_readable = self.is_readable and chunk is None
            return chunk
        self.has_ended = self.has_ended or is_last
        self.has_usage = self.has_usage or usage is not None
        return chunk


class _Candidate(msgspec.Struct, rename="camel"):
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None


_decode = msgspec.json.Decoder(_Chunk | list[Any]).decode


class GoogleLines:
    """The lines of Gemini's stream: LiteLLM says `stop` of every chunk, and leaves out whatever
    follows one that cannot be read.

    `end` is Google's word for how the answer ended, or why the prompt was blocked.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._lines: AsyncIterator[str] = aiter(source)
        self.end: str | None = None
        self.is_broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __aiter__(self) -> "GoogleLines":
        return self

    async def __anext__(self) -> str:
        line = await anext(self._lines)
        if line.startswith(_DATA) and _DONE not in line:
            self._read(line[len(_DATA) :])
        return line

    def _read(self, data: str) -> None:
        try:
            chunk = _decode(data)
        except UNREADABLE:
            self.is_broken = True
            return
        if not isinstance(chunk, _Chunk):
            return
        if chunk.prompt_feedback is not None:
            self.end = chunk.prompt_feedback.block_reason or self.end
        for candidate in chunk.candidates or ():
            self.end = candidate.finish_reason or self.end
