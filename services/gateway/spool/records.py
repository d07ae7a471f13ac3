"""A spool file's records, each `length, CRC-32, payload`; zeros behind the last one end them."""

import os
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

_HEADER = struct.Struct(">II")
HEADER_BYTES = _HEADER.size
_BLOCK = 1024 * 1024


class Unreadable(Exception):
    """The record at `offset` cannot be read, so the start of the next one is unknown."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def record_of(payload: bytes) -> bytes:
    """The payload as it is written to a spool file."""
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def write_at(file: BinaryIO, data: bytes, offset: int) -> None:
    # A disk that fills up may write a part of the data without an error.
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file.fileno(), rest, offset)
        rest, offset = rest[written:], offset + written
    os.fdatasync(file.fileno())


def records_of(file: BinaryIO, offset: int = 0) -> Iterator[bytes]:
    """From `offset`, where one begins. Raises Unreadable at one that is cut short or damaged."""
    file.seek(offset)
    while header := file.read(_HEADER.size):
        if not any(header):
            if _is_room(file):
                return
            raise Unreadable(offset)
        if len(header) < _HEADER.size:
            raise Unreadable(offset)
        length, checksum = _HEADER.unpack(header)
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            raise Unreadable(offset)
        offset += _HEADER.size + length
        yield payload


def record_at(file: BinaryIO, offset: int) -> bytes:
    """Raises Unreadable."""
    for payload in records_of(file, offset):
        return payload
    raise Unreadable(offset)


def _is_room(file: BinaryIO) -> bool:
    """Whether nothing but zeros follows."""
    return not any(block.strip(b"\0") for block in iter(partial(file.read, _BLOCK), b""))
