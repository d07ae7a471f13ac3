"""The events of a stream that is being written: numbered from 0, without a gap."""

from typing import Any

import msgspec

_encode = msgspec.json.encode


class Events:
    """Frames, numbered in the order in which they are written."""

    __slots__ = ("_frames", "number")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self.number = 0

    def put(self, kind: str, fields: dict[str, Any]) -> None:
        event = {"type": kind, "sequence_number": self.number, **fields}
        self.number += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event)))

    def put_delta(self, head: bytes, place: bytes, delta: str) -> None:
        """The frequent ones, from their parts: what they are, where, and what is new."""
        self._frames.append(b"%b%d%b%b}\n\n" % (head, self.number, place, _encode(delta)))
        self.number += 1

    def comment(self, comment: bytes) -> None:
        """No event, so it has no number."""
        self._frames.append(comment)

    def take(self) -> bytes:
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames


def delta_head(kind: str) -> bytes:
    """How each delta of this kind begins, up to its number."""
    return f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":'.encode()
