"""Describes indexes, finds missing ones, and builds them.

Each store has its `INDEXES`; `libs.common.storage.indexes` has them all.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

import msgspec
import structlog

from libs.common.storage.mongo.driver import (
    ASCENDING,
    DESCENDING,
    Database,
    Document,
    IndexModel,
    MongoUnsuitable,
)

# A service builds an index itself where that takes less than its timeout for an operation.
_MAX_DOCUMENTS = 5_000

log = structlog.get_logger(__name__)


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """`keys` ascend; one with a leading `-` descends. `expires`: MongoDB removes a document at the
    time in the field. With `above` or `below`, it has documents alone whose first key is so.
    """

    collection: str
    keys: tuple[str, ...]
    unique: bool = False
    sparse: bool = False
    expires: bool = False
    above: str | None = None
    below: str | None = None

    @property
    def model(self) -> IndexModel:
        options: Document = {name: True for name in ("unique", "sparse") if getattr(self, name)}
        if self.expires:
            options["expireAfterSeconds"] = 0
        for operator, bound in (("$gt", self.above), ("$lt", self.below)):
            if bound is not None:
                options["partialFilterExpression"] = {self.keys[0]: {operator: bound}}
                side = "above" if operator == "$gt" else "below"
                options["name"] = "_".join([*self.keys, side, bound])
        return IndexModel([_key(name) for name in self.keys], **options)

    @property
    def name(self) -> str:
        """As MongoDB names it, but for those with a bound."""
        return str(self.model.document["name"])


def index(
    collection: str,
    *keys: str,
    unique: bool = False,
    sparse: bool = False,
    expires: bool = False,
    above: str | None = None,
    below: str | None = None,
) -> Index:
    return Index(
        collection=collection,
        keys=keys,
        unique=unique,
        sparse=sparse,
        expires=expires,
        above=above,
        below=below,
    )


async def ensure_indexes(database: Database, indexes: Iterable[Index], *, how: str) -> None:
    """Builds those that small collections lack.

    Raises MongoUnsuitable if a larger one lacks any, with the command `how` that builds them. An
    index of many documents takes minutes, during which a service could not start.
    """
    late: list[str] = []
    for collection, missing in await missing_indexes(database, indexes):
        documents = await database[collection].estimated_document_count()
        if documents <= _MAX_DOCUMENTS:
            await _build(database, collection, missing)
        else:
            names = ", ".join(index.name for index in missing)
            late.append(f"{collection} ({documents:,} documents): {names}")
    if late:
        raise MongoUnsuitable(
            f"indexes are missing in {'; '.join(late)}. Build them with `{how}`, while the other "
            "services and those of the earlier release go on"
        )


async def build_indexes(database: Database, indexes: Iterable[Index]) -> None:
    """Builds what is missing, collection by collection, and waits for each.

    It may be stopped and repeated: what is built stays.
    """
    for collection, missing in await missing_indexes(database, indexes):
        names = [index.name for index in missing]
        documents = await database[collection].estimated_document_count()
        log.info("indexes.building", collection=collection, indexes=names, documents=documents)
        await _build(database, collection, missing)
        log.info("indexes.built", collection=collection, indexes=names)


async def missing_indexes(
    database: Database, indexes: Iterable[Index]
) -> list[tuple[str, Sequence[Index]]]:
    """By collection. An index that is still being built is not missing."""
    missing: list[tuple[str, Sequence[Index]]] = []
    in_collection = attrgetter("collection")
    for collection, group in groupby(sorted(indexes, key=in_collection), in_collection):
        existing = {document["name"] async for document in database[collection].list_indexes()}
        lacking = [index for index in group if index.name not in existing]
        if lacking:
            missing.append((collection, lacking))
    return missing


async def _build(database: Database, collection: str, indexes: Sequence[Index]) -> None:
    await database[collection].create_indexes([index.model for index in indexes])


def _key(name: str) -> tuple[str, int]:
    return (name[1:], DESCENDING) if name.startswith("-") else (name, ASCENDING)
