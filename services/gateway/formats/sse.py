"""Server-sent events, parsed only as far as metering needs."""

import re

from libs.common.errors import UpstreamFailed

_FRAME_END = re.compile(rb"\n\n|\r\n\r\n|\r\r")
_FRAME_END_BYTES = 4
MAX_FRAME_BYTES = 16 * 1024 * 1024


class FrameSplitter:
    """Cuts a stream of bytes into frames, each with its blank line; no byte is lost or added."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes."""
        if not self._rest and b"\r" not in data:
            # Nearly every read; most hold exactly one frame.
            *parts, self._rest = data.split(b"\n\n")
            if not self._rest and len(parts) == 1:
                return [data]
            return self._bounded([part + b"\n\n" for part in parts])
        # Earlier bytes were searched already, except for a blank line that was cut in two.
        search_from = max(0, len(self._rest) - _FRAME_END_BYTES + 1)
        if self._rest:
            data = self._rest + data
        frames = []
        start = 0
        for end in _FRAME_END.finditer(data, search_from):
            frames.append(data[start : end.end()])
            start = end.end()
        self._rest = data[start:]
        return self._bounded(frames)

    def _bounded(self, frames: list[bytes]) -> list[bytes]:
        if len(self._rest) > MAX_FRAME_BYTES:
            raise UpstreamFailed("The provider sent a stream event that is too large.")
        return frames

    def rest(self) -> bytes:
        """What came after the last complete frame."""
        return self._rest


def data_of(frame: bytes) -> bytes:
    """The payload of a frame's `data:` lines; empty where it has none."""
    lines = [
        line[5:].removeprefix(b" ") for line in frame.splitlines() if line.startswith(b"data:")
    ]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def frame(data: bytes, event: str | None = None) -> bytes:
    """One frame, ready to send."""
    head = b"" if event is None else f"event: {event}\n".encode()
    return head + b"data: " + data + b"\n\n"
