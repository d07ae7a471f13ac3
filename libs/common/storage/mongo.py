"""The only module that imports the MongoDB driver.

Motor's support ends in May 2027: PyMongo's own asyncio API replaces it here, and nowhere else.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo import ASCENDING, DESCENDING, InsertOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "BulkWriteError",
    "Collection",
    "Database",
    "Document",
    "DuplicateKeyError",
    "InsertOne",
    "MongoUnsuitable",
    "OperationFailure",
    "PyMongoError",
    "ReturnDocument",
    "Session",
    "UpdateOne",
    "from_document",
    "in_transaction",
    "open_database",
    "ping",
    "to_document",
]

Document = dict[str, Any]
Session = AsyncIOMotorClientSession
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_DEFAULT_DATABASE = "gateway"
# Longer than any healthy operation, shorter than a worker's job.
_OPERATION_TIMEOUT_MS = 5_000
_SELECTION_TIMEOUT_MS = 2_000
_MAX_POOL_SIZE = 50


class MongoUnsuitable(Exception):
    """The server works, but not in a way that the ledger can rely on."""


@asynccontextmanager
async def open_database(uri: str) -> AsyncIterator[Database]:
    """The database that the URI names, `gateway` without one; connects lazily."""
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        uri,
        tz_aware=True,
        w="majority",
        journal=True,
        retryWrites=True,
        timeoutMS=_OPERATION_TIMEOUT_MS,
        serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
        connectTimeoutMS=_SELECTION_TIMEOUT_MS,
        maxPoolSize=_MAX_POOL_SIZE,
        appname="litellm-gateway",
    )
    try:
        yield client.get_default_database(_DEFAULT_DATABASE)
    finally:
        client.close()


async def ping(database: Database) -> None:
    """Raises PyMongoError where no server answers, MongoUnsuitable for a standalone one."""
    hello = await database.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise MongoUnsuitable(
            "MongoDB runs standalone, and posting to the ledger needs transactions. Start mongod "
            "with --replSet rs0 and run rs.initiate() once; a set of one node is enough."
        )


async def in_transaction(
    database: Database, work: Callable[[Session], Coroutine[Any, Any, T]]
) -> T:
    """Runs `work` in one transaction, again where MongoDB says that a conflict was transient."""
    async with await database.client.start_session() as session:
        result: T = await session.with_transaction(
            work,
            read_concern=ReadConcern("snapshot"),
            write_concern=WriteConcern("majority", j=True),
        )
        return result


def to_document(struct: msgspec.Struct, *, key: str) -> Document:
    """The struct's fields, with `_id` beside them; Decimals as strings, which are exact."""
    document: Document = msgspec.to_builtins(struct, builtin_types=(datetime,))
    document["_id"] = document[key]
    return document


def from_document(document: Mapping[str, Any], struct_type: type[S]) -> S:
    """Fields that the struct does not know, `_id` among them, are passed over."""
    return msgspec.convert(document, struct_type)
