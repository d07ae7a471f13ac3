"""One database for the tests of a module, each of which finds it without a document.

It keeps its collections and their indexes: to build these takes longer than most tests. A test that
changes an index, or wants a database in which there is nothing, is marked `new_database`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.servers import ServerProcess, database_url

# What an earlier test has locked, by a transaction that it left open, is not waited for.
_TIMEOUT_MS = 2_000


class EmptiedDatabase:
    """The module's database, and those that its marked tests have of their own."""

    def __init__(self, server: ServerProcess, client: MongoClient[dict[str, Any]]) -> None:
        self._server = server
        self._client = client
        self._name: str | None = None

    def uri(self, *, is_new: bool = False) -> str:
        if is_new:
            return database_url(self._server, _new_name())
        if self._name is None or not self._is_emptied(self._name):
            self._name = _new_name()
        return database_url(self._server, self._name)

    def _is_emptied(self, name: str) -> bool:
        database = self._client[name]
        try:
            for collection in database.list_collection_names():
                if collection.startswith("system."):
                    return False
                database[collection].delete_many({})
        except PyMongoError:
            return False
        return True


@contextmanager
def emptied_database(server: ServerProcess) -> Iterator[EmptiedDatabase]:
    with MongoClient[dict[str, Any]](server.url, timeoutMS=_TIMEOUT_MS) as client:
        yield EmptiedDatabase(server, client)


def _new_name() -> str:
    return f"test_{uuid4().hex}"
