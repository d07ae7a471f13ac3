"""Keeps the frames of a stream that carry text, in case the provider does not count it."""

from collections.abc import Callable, Iterable, Iterator

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.formats.sse import data_of


class KeptFrames:
    """The frames of a stream that carry text, unparsed: only a broken stream needs their text."""

    __slots__ = ("_bytes_beyond", "_counted", "_frames", "_kept_bytes")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._kept_bytes = 0
        self._bytes_beyond = 0
        # How many of the frames, and bytes beyond them, the provider has counted.
        self._counted = (0, 0)

    def keep(self, frame: bytes) -> None:
        if self._kept_bytes + len(frame) > MAX_KEPT_BYTES:
            self._bytes_beyond += len(frame)
            return
        self._kept_bytes += len(frame)
        self._frames.append(frame)

    def mark_counted(self) -> None:
        """Call this when the provider has reported the tokens of all text so far."""
        self._counted = (len(self._frames), self._bytes_beyond)

    def has_uncounted(self) -> bool:
        """Whether frames came since, with or without text."""
        return self._counted != (len(self._frames), self._bytes_beyond)

    def contain(self, part: bytes) -> bool:
        return any(part in frame for frame in self._frames)

    def containing(self, part: bytes) -> Iterator[bytes]:
        return (frame for frame in self._frames if part in frame)

    def first(self) -> bytes:
        """Empty where none is kept."""
        return self._frames[0] if self._frames else b""

    def uncounted_beyond(self) -> int:
        """The number of uncounted bytes beyond what was kept."""
        return self._bytes_beyond - self._counted[1]

    def uncounted_text(self, texts_of: Callable[[bytes], Iterable[str | None]]) -> bytes:
        """The texts of the frames' data, put together; frames that cannot be read come as they are.

        `texts_of` raises one of UNREADABLE for those.
        """
        parts: list[bytes] = []
        for frame in self._frames[self._counted[0] :]:
            payload = data_of(frame)
            if not payload:
                continue  # A comment, such as a keep-alive.
            try:
                parts += (text.encode() for text in texts_of(payload) if text is not None)
            except UNREADABLE:
                parts.append(frame)
        return b"".join(parts)
