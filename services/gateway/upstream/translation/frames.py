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
            return self._decoder.decode(self._join(data))
        except UNREADABLE as error:
            words = "The provider's stream has an event that cannot be read."
            raise UpstreamFailed(words) from error

    def _join(self, data: bytes) -> bytes:
        """What stays half a character becomes U+FFFD."""
        half, self._half = self._half, b""
        is_joined = False

        def join(escape: re.Match[bytes]) -> bytes:
            nonlocal is_joined
            if escape["first"]:
                if not escape["last"]:
                    return _ALONE
                self._half = b"\\" + escape["first"]
                return b'"'
            if escape["second"]:
                if is_joined or not half:
                    return _ALONE
                is_joined = True
                return half + escape[0]
            return escape[0]

        event = _ESCAPE.sub(join, data)
        if not half or is_joined:
            return event
        text = _TEXT.search(event)
        if text is None:
            self._half = self._half or half
            return event
        return event[: text.end()] + _ALONE + event[text.end() :]
