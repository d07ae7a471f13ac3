"""Reads and writes whole collections as BSON, document by document, as they are stored."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from libs.common.storage.mongo.driver import (
    Database,
    Document,
    OperationFailure,
    RawDocument,
    Session,
    open_snapshot,
    raw_collection,
)

# What MongoDB has of its own.
_SYSTEM = "system."
_OWN_INDEX = "_id_"
# Of an index's description: where it is, which is not a part of what it is.
_PLACE = "ns"
_READ_AT_ONCE = 1_000
_SNAPSHOT_TOO_OLD = 239
_NO_SNAPSHOT = 246


class SnapshotLost(Exception):
    """MongoDB keeps no longer what the snapshot showed."""


class BackupReader:
    """All reads see the database as it was at the first of them."""

    def __init__(self, database: Database, session: Session) -> None:
        self._database = database
        self._session = session

    async def documents(self, name: str) -> AsyncGenerator[bytes, None]:
        """Raises SnapshotLost."""
        cursor = raw_collection(self._database, name).find(
            {}, session=self._session, batch_size=_READ_AT_ONCE
        )
        try:
            async for document in cursor:
                yield document.raw
        except OperationFailure as error:
            if error.code in (_SNAPSHOT_TOO_OLD, _NO_SNAPSHOT):
                raise SnapshotLost from error
            raise

    async def indexes(self, name: str) -> list[Document]:
        """Their descriptions, without that of `_id`."""
        descriptions = [dict(each) async for each in self._database[name].list_indexes()]
        return [
            {key: _plain(value) for key, value in each.items() if key != _PLACE}
            for each in descriptions
            if each["name"] != _OWN_INDEX
        ]


@asynccontextmanager
async def open_reader(database: Database) -> AsyncIterator[BackupReader]:
    async with open_snapshot(database) as session:
        yield BackupReader(database, session)


async def collection_names(database: Database) -> list[str]:
    """In order, without MongoDB's own."""
    names = await database.list_collection_names()
    return sorted(name for name in names if not name.startswith(_SYSTEM))


async def first_filled(database: Database) -> str | None:
    """A collection that has a document; None where all is empty."""
    for name in await collection_names(database):
        if await database[name].find_one({}, {"_id": 1}) is not None:
            return name
    return None


async def insert_raw(database: Database, name: str, documents: Sequence[bytes]) -> None:
    """Raises BulkWriteError where one of them is there."""
    if documents:
        await raw_collection(database, name).insert_many(
            [RawDocument(each) for each in documents], ordered=False
        )


async def create_collection(
    database: Database, name: str, indexes: Sequence[Mapping[str, Any]]
) -> None:
    """With its indexes, unless it has them."""
    if name not in await database.list_collection_names():
        await database.create_collection(name)
    if indexes:
        await database.command("createIndexes", name, indexes=list(indexes))


def _plain(value: Any) -> Any:
    """Without the types of BSON, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
