"""A backup's directory: a file of BSON for each collection, and a manifest that proves them.

A file is the documents one after the other, as MongoDB stores them, compressed by gzip. The
manifest is written last, so a directory without one is a backup that was not finished. Nothing
here is larger in memory than a document.
"""

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_MANIFEST = "manifest.json"
_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
# Fast, since MongoDB does not keep a snapshot for long.
_LEVEL = 3
_LENGTH_BYTES = 4
_SMALLEST = 5
# MongoDB's bound, and a little for what it adds of its own.
_MAX_DOCUMENT = 16 * 1024 * 1024 + 16 * 1024
_MAX_MANIFEST = 16 * 1024 * 1024
# What a backup holds is as secret as the database.
_PRIVATE_FILE, _PRIVATE_DIRECTORY = 0o600, 0o700


class WrongBackup(Exception):
    """The directory holds no backup that can be restored; one line says why."""


class CollectionPart(msgspec.Struct, frozen=True, kw_only=True):
    """`sha256` is that of the documents, uncompressed, in the order of the file."""

    name: str
    documents: int
    bytes: int
    sha256: str
    indexes: tuple[dict[str, Any], ...] = ()

    @property
    def file(self) -> str:
        return f"{self.name}.bson.gz"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`made_by` is the release, `began_at` when the database was as it is in the files."""

    format: int = _FORMAT
    made_by: str
    began_at: datetime
    database: str
    collections: tuple[CollectionPart, ...]


class _Sum:
    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self._hash = hashlib.sha256()

    def add(self, document: bytes) -> None:
        self.documents += 1
        self.bytes += len(document)
        self._hash.update(document)

    def hex(self) -> str:
        return self._hash.hexdigest()


def make_directory(path: Path) -> None:
    """Raises WrongBackup if the directory is not empty."""
    try:
        path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise WrongBackup(f"{path} is not empty")
    except OSError as error:
        raise WrongBackup(f"{path} cannot be written: {error.strerror}") from None


async def write_collection(
    path: Path, name: str, documents: AsyncIterator[bytes], indexes: list[dict[str, Any]]
) -> CollectionPart:
    """Raises WrongBackup for a name that is not a file's."""
    if not _NAME.fullmatch(name):
        raise WrongBackup(f"the collection {name!r} has a name that no file may have")
    total = _Sum()
    with (
        _new_file(path / f"{name}.bson.gz") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, compresslevel=_LEVEL) as packed,
    ):
        async for document in documents:
            packed.write(document)
            total.add(document)
    return CollectionPart(
        name=name,
        documents=total.documents,
        bytes=total.bytes,
        sha256=total.hex(),
        indexes=tuple(indexes),
    )


def write_manifest(path: Path, manifest: Manifest) -> None:
    with _new_file(path / _MANIFEST) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)))
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_manifest(path: Path) -> Manifest:
    """Raises WrongBackup."""
    try:
        with (path / _MANIFEST).open("rb") as file:
            manifest = msgspec.json.decode(file.read(_MAX_MANIFEST), type=Manifest)
    except FileNotFoundError:
        raise WrongBackup(f"{path} has no {_MANIFEST}: the backup was not finished") from None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WrongBackup(f"{_MANIFEST} cannot be read: {error}") from None
    if manifest.format != _FORMAT:
        raise WrongBackup(f"format {manifest.format} is unknown to this release")
    names = [part.name for part in manifest.collections]
    if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
        raise WrongBackup(f"{_MANIFEST} names collections that no database has")
    return manifest


def documents_of(path: Path, part: CollectionPart) -> Iterator[bytes]:
    """Raises WrongBackup if the file is damaged, or at its end if the manifest does not match."""
    total = _Sum()
    try:
        with gzip.open(path / part.file, "rb") as file:
            while document := _next_document(file, part):
                total.add(document)
                yield document
    except (OSError, EOFError, zlib.error) as error:
        raise WrongBackup(f"{part.file} cannot be read: {error}") from None
    found = (total.documents, total.bytes, total.hex())
    if found != (part.documents, part.bytes, part.sha256):
        raise WrongBackup(f"{part.file} is not what {_MANIFEST} says")


def check_files(path: Path) -> Manifest:
    """Reads all of it. Raises WrongBackup."""
    manifest = read_manifest(path)
    for part in manifest.collections:
        for _ in documents_of(path, part):
            pass
    return manifest


def _next_document(file: BinaryIO | gzip.GzipFile, part: CollectionPart) -> bytes:
    """Empty at the end."""
    prefix = file.read(_LENGTH_BYTES)
    if not prefix:
        return b""
    length = int.from_bytes(prefix, "little")
    if len(prefix) < _LENGTH_BYTES or not _SMALLEST <= length <= _MAX_DOCUMENT:
        raise WrongBackup(f"{part.file} is damaged")
    document = prefix + file.read(length - _LENGTH_BYTES)
    if len(document) < length:
        raise WrongBackup(f"{part.file} is cut off")
    return document


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """On the disk when the block ends."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
