"""Decodes a stream's frames, also where a server cuts a character in two.

Some servers cut between the halves of a surrogate pair, `"\\ud83d"` in one frame and `"\\ude00"` in
the next, and neither is text by itself. The first half waits for its other one.
"""

import re
from typing import Generic, TypeVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import UpstreamFailed
from services.gateway.formats.sse import data_of

T = TypeVar("T")

# Every escape, so that an escaped backslash is not taken for the beginning of one.
_ESCAPE = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB]..\\u[dD][c-fC-F]..)"
    rb"|(?P<first>u[dD][89abAB]..)(?P<last>\")?|(?P<second>u[dD][c-fC-F]..)|.)",
    re.DOTALL,
)
_TEXT = re.compile(
    rb'"(?:text|thinking|partial_json|content|reasoning_content|reasoning|delta|arguments)"\s*:\s*"'
)
_ALONE = rb"\ufffd"


class FrameDecoder(Generic[T]):
    """Of one stream."""

    __slots__ = ("_decoder", "_half")

    def __init__(self, decoder: msgspec.json.Decoder[T]) -> None:
        self._decoder = decoder
        self._half = b""

    def read(self, frame: bytes) -> T | None:
        """None for a frame without data. Raises UpstreamFailed where it cannot be read."""
        if not self._half:
            start = frame.find(b"data:")
            if start < 0:
                return None
            try:
                return self._decoder.decode(frame[start + 5 :])
            except UNREADABLE:
                pass
        # Data of several lines, lines after it, or half a character.
        data = data_of(frame)
        if not data:
            return None
        try:
            return self._decoder.decode(self._joined(data))
        except UNREADABLE as error:
            words = "The provider's stream has an event that cannot be read."
            raise UpstreamFailed(words) from error

    def _joined(self, data: bytes) -> bytes:
        """What stays half a character becomes U+FFFD."""
        waiting, self._half = self._half, b""
        is_joined = False

        def joined(found: re.Match[bytes]) -> bytes:
            nonlocal is_joined
            if found["first"]:
                if not found["last"]:
                    return _ALONE
                self._half = b"\\" + found["first"]
                return b'"'
            if found["second"]:
                if is_joined or not waiting:
                    return _ALONE
                is_joined = True
                return waiting + found[0]
            return found[0]

        event = _ESCAPE.sub(joined, data)
        if not waiting or is_joined:
            return event
        text = _TEXT.search(event)
        if text is None:
            self._half = self._half or waiting
            return event
        return event[: text.end()] + _ALONE + event[text.end() :]
