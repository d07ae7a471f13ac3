"""Decodes compressed request bodies in pieces, as they arrive.

The reader counts the pieces, so it can stop before a body that exceeds its bound takes the memory.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from backports import zstd
from starlette.types import Message, Receive

from libs.common.errors import InvalidRequest, UnsupportedContentCoding

_PIECE_BYTES = 256 * 1024
# RFC 9659's bound for HTTP. A frame may demand more memory than its body needs.
_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
_DEFLATED = 8


class _Decompressor(Protocol):
    """A decompressor of zlib or of zstd. Only zlib's hands back what it has not used yet."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _gzip(_: bytes) -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _deflate(first: bytes) -> _Decompressor:
    """Decodes zlib's format, which HTTP requires, or the raw format, which some clients send."""
    return zlib.decompressobj(wbits=15 if first[0] & 15 == _DEFLATED else -15)


def _zstd(_: bytes) -> _Decompressor:
    return zstd.ZstdDecompressor(options=_ZSTD_WINDOW)


_CODINGS: dict[bytes, Callable[[bytes], _Decompressor]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"zstd": _zstd,
}
ACCEPTED = b"gzip, deflate, zstd"


def coding_of(content_encoding: bytes) -> bytes | None:
    """None for an uncompressed body. Raises UnsupportedContentCoding."""
    coding = content_encoding.strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding not in _CODINGS:
        coding_name = coding[:64].decode("latin-1")
        raise UnsupportedContentCoding(
            f"A body with content-encoding '{coding_name}' cannot be read. "
            f"Send it as one of {ACCEPTED.decode()}, or uncompressed."
        )
    return coding


class DecodedBody:
    """`receive` takes the place of the request's own. Raises InvalidRequest."""

    def __init__(self, receive: Receive, coding: bytes) -> None:
        self._receive = receive
        self._coding = coding
        self._decompressor: _Decompressor | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._has_arrived = False

    async def receive(self) -> Message:
        """The next piece, which is never empty unless it is the last."""
        while (piece := next(self._pieces, b"")) == b"" and not self._has_arrived:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return message
            self._has_arrived = not message.get("more_body", False)
            self._pieces = self._decode_pieces(message.get("body", b""))
        is_last = self._has_arrived and self._has_ended()
        if piece == b"" and not is_last:
            raise self._invalid("it ends too early")
        if not is_last:
            # A few bytes may expand to many, and the event loop has other calls to serve.
            await asyncio.sleep(0)
        return {"type": "http.request", "body": piece, "more_body": not is_last}

    def _decode_pieces(self, data: bytes) -> Iterator[bytes]:
        while data or self._decompressor is not None:
            if self._decompressor is None:
                self._decompressor = _CODINGS[self._coding](data)
            if self._has_ended():
                if data:
                    raise self._invalid("data follows its end")
                return
            try:
                piece = self._decompressor.decompress(data, _PIECE_BYTES)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._invalid(str(error)) from None
            data = (
                getattr(self._decompressor, "unconsumed_tail", b"")
                or self._decompressor.unused_data
            )
            if piece and not (data and self._has_ended()):
                yield piece
            if not data and len(piece) < _PIECE_BYTES:
                return

    def _has_ended(self) -> bool:
        return self._decompressor is not None and self._decompressor.eof

    def _invalid(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"The request body is not valid {self._coding.decode()}: {reason}.")
