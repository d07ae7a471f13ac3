"""The only module that imports the MongoDB driver.

Motor's support ends in May 2027: PyMongo's own asyncio API replaces it here, and nowhere else.
"""

import asyncio
import random
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

import msgspec
from bson import encode as bson_of
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.raw_bson import RawBSONDocument as RawDocument
from motor.motor_asyncio import (
    AsyncIOMotorClient,
    AsyncIOMotorClientSession,
    AsyncIOMotorCollection,
    AsyncIOMotorDatabase,
)
from pymongo import (
    ASCENDING,
    DESCENDING,
    IndexModel,
    InsertOne,
    MongoClient,
    ReturnDocument,
    UpdateOne,
)
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from libs.common.settings import SettingsError
from libs.common.storage.mongo.uri import WrongMongoUri, client_options

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "TRANSIENT",
    "BSONError",
    "BulkWriteError",
    "Collection",
    "ConfigurationError",
    "Database",
    "Document",
    "DuplicateKeyError",
    "IndexModel",
    "InsertOne",
    "MaxKey",
    "MinKey",
    "MongoUnsuitable",
    "OperationFailure",
    "PyMongoError",
    "RawDocument",
    "ReturnDocument",
    "Session",
    "UpdateOne",
    "WriteRefusal",
    "at_revision",
    "bson_of",
    "check_mongo_uri",
    "from_document",
    "in_transaction",
    "is_router",
    "kill_sessions",
    "open_database",
    "open_session",
    "open_snapshot",
    "ping",
    "raw_collection",
    "refusal",
    "session_id",
    "to_document",
]

Document = dict[str, Any]
Session = AsyncIOMotorClientSession
Collection = AsyncIOMotorCollection[Document]
Database = AsyncIOMotorDatabase[Document]
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_DEFAULT_DATABASE = "gateway"
# The answer of mongos to hello.
_ROUTER = "isdbgrid"
# Longer than any healthy operation, shorter than a worker's job. It also bounds how long the driver
# looks for a server, whatever `serverSelectionTimeoutMS` is.
_OPERATION_TIMEOUT_S = 5.0
# Conflicts on a busy account pass within milliseconds. Callers retry later.
_CONFLICT_BUDGET_S = 5.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.08

WriteRefusal = Literal["document", "unknown"]
# The label of what ends a transaction that may be tried again.
TRANSIENT = "TransientTransactionError"
_TRANSIENT_LABELS = (
    TRANSIENT,
    "UnknownTransactionCommitResult",
    "RetryableWriteError",
)
# Transient codes that carry no label: another writer, an interrupted operation, or a user whose
# role or password is being changed (13, 18).
_TRANSIENT_CODES = frozenset({13, 18, 24, 46, 50, 112, 202, 244, 246, 251, 262, 11000, 11601})
# BadValue (an overflowing `$inc`), TypeMismatch, DocumentValidationFailure, and too large (three).
_DOCUMENT_CODES = frozenset({2, 14, 121, 10334, 17419, 17420})


class MongoUnsuitable(Exception):
    """The server works, but lacks transactions."""


def check_mongo_uri(uri: str) -> None:
    """Raises SettingsError for an invalid URI. Sends nothing, not even a DNS query."""
    try:
        address, options = client_options(uri)
        with warnings.catch_warnings():
            # The driver would only warn of an unknown option, or of a wrong value.
            warnings.simplefilter("error", UserWarning)
            MongoClient[Document](address, connect=False, **options).close()
    except UserWarning as warning:
        raise SettingsError(f"MONGO_URI is wrong: {warning}") from None
    except WrongMongoUri as error:
        raise SettingsError(f"MONGO_URI is wrong: {error}") from None
    except (PyMongoError, ValueError, OSError) as error:
        # The driver's message may repeat the password.
        raise SettingsError(
            f"MONGO_URI is wrong ({type(error).__name__}): it must be mongodb://host:port/database "
            "or mongodb+srv://…, with user and password percent-encoded"
        ) from None


@asynccontextmanager
async def open_database(
    uri: str, *, operation_timeout_s: float = _OPERATION_TIMEOUT_S
) -> AsyncIterator[Database]:
    """The database that the URI names, by default `gateway`. Connects lazily."""
    address, options = client_options(uri)
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
        address, timeoutMS=int(operation_timeout_s * 1000), **options
    )
    try:
        yield client.get_default_database(_DEFAULT_DATABASE)
    finally:
        client.close()


async def ping(database: Database) -> None:
    """Raises PyMongoError if no server answers, MongoUnsuitable for a standalone server."""
    hello = await database.command("hello")
    if "setName" not in hello and hello.get("msg") != _ROUTER:
        raise MongoUnsuitable(
            "MongoDB runs standalone, and posting to the ledger needs transactions. Start mongod "
            "with --replSet rs0 and run rs.initiate() once; a set of one node is enough."
        )


async def is_router(database: Database) -> bool:
    """Whether it is a sharded cluster's, which mongos answers for."""
    return bool((await database.command("hello")).get("msg") == _ROUTER)


@asynccontextmanager
async def open_session(database: Database) -> AsyncIterator[Session]:
    """A session to reuse: its next transaction aborts one that a broken connection left open."""
    async with await database.client.start_session() as session:
        yield session


@asynccontextmanager
async def open_snapshot(database: Database) -> AsyncIterator[Session]:
    """All reads in the session see the database as it was at the first of them.

    MongoDB keeps it for `minSnapshotHistoryWindowInSeconds`, five minutes by default.
    """
    async with await database.client.start_session(snapshot=True) as session:
        yield session


def raw_collection(database: Database, name: str) -> AsyncIOMotorCollection[RawDocument]:
    """Its documents as BSON, neither decoded nor encoded."""
    raw: CodecOptions[RawDocument] = CodecOptions(document_class=RawDocument)
    majority = WriteConcern("majority", j=True)
    collection = database.get_collection(name, codec_options=raw, write_concern=majority)
    # The stubs give it the documents of its database.
    return cast("AsyncIOMotorCollection[RawDocument]", collection)


def session_id(session: Session) -> UUID:
    """The id that `kill_sessions` takes."""
    # The stubs declare the property as a method.
    lsid = cast("Mapping[str, Binary]", session.session_id)
    return UUID(bytes=bytes(lsid["id"]))


async def kill_sessions(database: Database, ids: Sequence[UUID]) -> None:
    """Aborts the sessions' open transactions, which otherwise lock documents for a minute."""
    sessions = [{"id": Binary.from_uuid(id_)} for id_ in ids]
    await database.client.admin.command("killSessions", sessions)


async def in_transaction(
    database: Database,
    work: Callable[[Session], Coroutine[Any, Any, T]],
    session: Session | None = None,
) -> T:
    """Runs `work` in one transaction, and retries it after a transient conflict.

    A transaction may be committed although an error is raised, if the connection broke during the
    commit. The driver's own `with_transaction` retries for two minutes, longer than callers wait.
    """
    if session is None:
        async with open_session(database) as new_session:
            return await in_transaction(database, work, new_session)
    give_up_at = monotonic() + _CONFLICT_BUDGET_S
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            async with session.start_transaction(
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority", j=True),
            ):
                return await work(session)
        except OperationFailure as error:
            if not error.has_error_label(TRANSIENT) or monotonic() > give_up_at:
                raise
        await asyncio.sleep(random.uniform(0, pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def refusal(error: Exception) -> WriteRefusal | None:
    """Why a retry with the same documents cannot succeed; None if it may.

    `document`: a document is at fault. `unknown`: the reason may lie in the deployment.
    """
    if isinstance(error, BSONError | OverflowError):
        return "document"
    if not isinstance(error, OperationFailure) or any(
        map(error.has_error_label, _TRANSIENT_LABELS)
    ):
        return None
    rows = error.details.get("writeErrors", []) if isinstance(error, BulkWriteError) else []
    codes = {row["code"] for row in rows} or {error.code}
    if codes & _TRANSIENT_CODES:
        return None
    return "document" if codes <= _DOCUMENT_CODES else "unknown"


def to_document(struct: msgspec.Struct, *, key: str) -> Document:
    """The struct's fields, and `_id`. Decimals become strings, which are exact."""
    document: Document = msgspec.to_builtins(struct, builtin_types=(datetime,))
    document["_id"] = document[key]
    return document


def at_revision(revision: str | None) -> Document:
    """The condition that a document still has this revision; None: whichever it has."""
    if revision is None:
        return {}
    # Documents from before there were revisions have none.
    return {"revision": revision} if revision else {"revision": {"$in": [None, ""]}}


def from_document(document: Mapping[str, Any], struct_type: type[S]) -> S:
    """Ignores fields that the struct lacks, such as `_id`."""
    return msgspec.convert(document, struct_type)
