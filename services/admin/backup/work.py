"""Dumps the whole database, and restores it into an empty one.

A dump shows one moment, so its entries and its sums agree. A restore proves the files before it
writes anything. It writes accounts and keys last: while they are not there no call is served, so
one that was interrupted serves nobody from half a ledger.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from libs.common.storage.mongo.backups import (
    SnapshotLost,
    collection_names,
    create_collection,
    first_filled,
    insert_raw,
    open_reader,
)
from libs.common.storage.mongo.driver import Database
from libs.common.version import VERSION
from services.admin.backup.files import (
    CollectionPart,
    Manifest,
    WrongBackup,
    check_files,
    documents_of,
    make_directory,
    write_collection,
    write_manifest,
)

_LAST = ("accounts", "keys")
_MAX_BATCH = 1_000
_MAX_BATCH_BYTES = 8 * 1024 * 1024

log = structlog.get_logger(__name__)


async def dump(database: Database, path: Path) -> Manifest:
    """Raises WrongBackup, or an error of MongoDB's."""
    make_directory(path)
    parts: list[CollectionPart] = []
    began_at = datetime.now(UTC)
    try:
        async with open_reader(database) as reader:
            # Once more at the end, since the first call creates collections.
            while names := await _names_without(database, parts):
                for name in names:
                    indexes = await reader.indexes(name)
                    part = await write_collection(path, name, reader.documents(name), indexes)
                    parts.append(part)
                    log.info("backup.dumped", collection=name, documents=part.documents)
    except SnapshotLost:
        raise WrongBackup(
            "MongoDB has dropped the snapshot: try again; where it takes longer than "
            "minSnapshotHistoryWindowInSeconds, raise that or use mongodump"
        ) from None
    manifest = Manifest(
        made_by=VERSION, began_at=began_at, database=database.name, collections=tuple(parts)
    )
    write_manifest(path, manifest)
    return manifest


async def restore(database: Database, path: Path) -> Manifest:
    """Raises WrongBackup, or an error of MongoDB's, which may leave the database half restored."""
    manifest = check_files(path)
    filled = await first_filled(database)
    if filled is not None:
        raise WrongBackup(
            f"the database '{database.name}' is not empty: '{filled}' has documents. A backup is "
            "restored into an empty one only"
        )
    for part in sorted(manifest.collections, key=_order):
        # Of a full collection an index takes minutes.
        await create_collection(database, part.name, part.indexes)
        for batch in _batches(documents_of(path, part)):
            await insert_raw(database, part.name, batch)
        log.info("backup.restored", collection=part.name, documents=part.documents)
    return manifest


async def _names_without(database: Database, parts: Sequence[CollectionPart]) -> list[str]:
    known = {part.name for part in parts}
    return [name for name in await collection_names(database) if name not in known]


def _order(part: CollectionPart) -> tuple[int, str]:
    return (_LAST.index(part.name) + 1 if part.name in _LAST else 0, part.name)


def _batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for document in documents:
        if len(batch) == _MAX_BATCH or (batch and size + len(document) > _MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
    yield batch
