"""The collection `prices`: versions that may end but not change, written by the admin service."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase, translate
from math import inf
from time import monotonic

import msgspec

from libs.common.domain.price_lookup import has_pattern
from libs.common.schemas.price import PriceImport, PriceSource, PriceVersion
from libs.common.storage.mongo.driver import (
    ASCENDING,
    DESCENDING,
    Database,
    Document,
    DuplicateKeyError,
    ReturnDocument,
    from_document,
    to_document,
)
from libs.common.storage.mongo.index import index
from libs.common.storage.mongo.slices import Rows, Slice, by_id, read_slice, sliced

# A model with more versions than this has been re-priced daily for years.
_MAX_VERSIONS = 5_000
# Every look-up reads them.
_MAX_PATTERNS = 1_000
_PAGE = 500
# So few versions are read at once; whether they are so few is looked at this often.
_FEW, _COUNTED_S = 50, 60.0

INDEXES = (
    index("prices", "model", "-effective_from"),
    index("prices", "aliases"),
    index("prices", "has_pattern", sparse=True),
    index("prices", "import_id", "_id"),
)


class PriceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """None leaves a field out; `pattern` is of models, with the wildcards that keys take."""

    source: PriceSource | None = None
    provider: str | None = None
    pattern: str | None = None
    import_id: str | None = None

    def query(self) -> Document:
        fields = {"source": self.source, "provider": self.provider, "import_id": self.import_id}
        query: Document = {name: value for name, value in fields.items() if value is not None}
        if self.pattern is not None:
            query["model"] = {"$regex": rf"\A{translate(self.pattern)}"}
        return query

    def matches(self, version: PriceVersion) -> bool:
        """As the query would find it."""
        return (
            self.source in (None, version.source)
            and self.provider in (None, version.provider)
            and self.import_id in (None, version.import_id)
            and (self.pattern is None or fnmatchcase(version.model, self.pattern))
        )


class PriceStore:
    """Price versions, by model name or alias."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = monotonic) -> None:
        self._prices = database["prices"]
        self._clock = clock
        self._are_few, self._counted_at = False, -inf

    async def insert(self, version: PriceVersion) -> bool:
        """Returns False if its id is taken."""
        try:
            await self._prices.insert_one(_document(version))
        except DuplicateKeyError:
            return False
        return True

    async def insert_many(self, versions: Sequence[PriceVersion]) -> None:
        """At once, so no more than MongoDB takes within the time of one operation."""
        await self._prices.insert_many([_document(v) for v in versions])

    async def end(
        self, version: PriceVersion, until: datetime, *, actor_id: str | None = None
    ) -> PriceVersion | None:
        """Ends the version at `until`, unless it ends before.

        The one thing about a version that may change, and only towards an earlier end, with who
        ended it. None where there is no such version, or somebody else has ended it meanwhile.
        """
        if version.effective_until is not None and version.effective_until <= until:
            return version
        document: Document | None = await self._prices.find_one_and_update(
            {"_id": version.price_id, "effective_until": version.effective_until},
            {"$set": {"effective_until": until, "ended_by": actor_id}},
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else from_document(document, PriceVersion)

    async def get(self, price_id: str) -> PriceVersion | None:
        document = await self._prices.find_one({"_id": price_id})
        return None if document is None else from_document(document, PriceVersion)

    async def versions_of(self, names: Iterable[str]) -> list[PriceVersion]:
        """Every version whose model or alias is one of the names, the newest first.

        And the other versions of models that go by an alias: one of them may have taken over
        without the alias.
        """
        name_set = set(names)
        by_model, by_alias = await asyncio.gather(
            self._find("model", name_set), self._find("aliases", name_set)
        )
        others = {version.model for version in by_alias} - name_set
        versions = [*by_model, *by_alias, *(await self._find("model", others) if others else ())]
        distinct = {version.price_id: version for version in versions}
        return sorted(distinct.values(), key=lambda version: version.effective_from, reverse=True)

    async def patterns(self) -> list[PriceVersion]:
        """Every version whose model or alias is a pattern, the newest first."""
        cursor = self._prices.find({"has_pattern": True}).sort("effective_from", DESCENDING)
        documents = await cursor.limit(_MAX_PATTERNS).to_list(_MAX_PATTERNS)
        return [from_document(document, PriceVersion) for document in documents]

    async def candidates(self, names: Iterable[str]) -> list[PriceVersion]:
        """Those of `versions_of` and of `patterns`, in no order. Where few are stored, by one read:
        also of a server that reads all of them for it.
        """
        name_set = set(names)
        await self._count()
        if not self._are_few:
            results = await asyncio.gather(self.versions_of(name_set), self.patterns())
            return [version for part in results for version in part]
        any_of: Document = {"$in": sorted(name_set)}
        fields: list[Document] = [{"model": any_of}, {"aliases": any_of}, {"has_pattern": True}]
        versions = await self._versions({"$or": fields})
        others = {version.model for version in versions if name_set.intersection(version.aliases)}
        others -= name_set
        return versions + (await self._find("model", others) if others else [])

    async def _count(self) -> None:
        """Only how they are read depends on it, not which are found."""
        if self._clock() - self._counted_at >= _COUNTED_S:
            self._are_few = await self._prices.estimated_document_count() <= _FEW
            self._counted_at = self._clock()

    async def _find(self, field: str, names: set[str]) -> list[PriceVersion]:
        """One field at a time: not every server answers an `$or` of two through their indexes."""
        return await self._versions({field: {"$in": sorted(names)}})

    async def _versions(self, query: Document) -> list[PriceVersion]:
        cursor = self._prices.find(query)
        cursor = cursor.sort("effective_from", DESCENDING).limit(_MAX_VERSIONS)
        documents = await cursor.to_list(_MAX_VERSIONS)
        return [from_document(document, PriceVersion) for document in documents]

    async def models(self, filters: PriceFilter, part: Slice) -> Rows[str]:
        """The models that have such versions, in the order of their names.

        Left out are versions that never were: ended at their own start, as an undone import's are.
        """
        (condition,) = part.stretches()
        pipeline: list[Document] = [
            *({"$match": {"model": bounds}} for bounds in condition.values()),
            {"$match": filters.query()},
            {"$match": {"$expr": {"$ne": ["$effective_until", "$effective_from"]}}},
            {"$group": {"_id": "$model"}},
            {"$sort": dict(part.order(same_value=False))},
            {"$limit": part.limit + 1},
        ]
        rows = await self._prices.aggregate(pipeline).to_list(part.limit + 1)
        return sliced([row["_id"] for row in rows], part, by_id)

    async def list(
        self, filters: PriceFilter, *, after: str | None, limit: int
    ) -> list[PriceVersion]:
        """Ordered by price_id, those after `after`."""
        query = filters.query() if after is None else filters.query() | {"_id": {"$gt": after}}
        cursor = self._prices.find(query).sort("_id", ASCENDING).limit(limit)
        return [from_document(document, PriceVersion) for document in await cursor.to_list(limit)]

    async def slice(self, filters: PriceFilter, part: Slice) -> Rows[PriceVersion]:
        """In the order of `_id`."""
        query = {} if filters.import_id is None else {"import_id": filters.import_id}
        return await read_slice(self._prices, query, part, PriceVersion, keep=filters.matches)

    async def all(self) -> Sequence[PriceVersion]:
        """Everything that was ever stored, page by page: for a look at every model."""
        versions: list[PriceVersion] = []
        while True:
            after = versions[-1].price_id if versions else None
            page = await self.list(PriceFilter(), after=after, limit=_PAGE)
            versions += page
            if len(page) < _PAGE:
                return versions

    async def imports(self, part: Slice) -> Rows[PriceImport]:
        """In the order of their ids, which is that of their making."""
        (bounds,) = part.stretches()
        ids = {"$gt": "", **bounds.get("_id", {})}
        order = dict(part.order(same_value=False))
        found = await self._imports(ids, part.limit + 1, order)
        return sliced(found, part, lambda each: by_id(each.import_id))

    async def find_import(self, import_id: str) -> PriceImport | None:
        found = await self._imports(import_id, 1, {"_id": ASCENDING})
        return found[0] if found else None

    async def end_import(
        self, import_id: str, until: datetime, *, actor_id: str | None = None
    ) -> None:
        """Ends all versions of an import; at their own start it is as if it had not been made."""
        await self._prices.update_many(
            {"import_id": import_id}, {"$set": {"effective_until": until, "ended_by": actor_id}}
        )

    async def _imports(
        self, ids: Document | str, limit: int, order: Document
    ) -> Sequence[PriceImport]:
        ended = {"$cond": [{"$eq": ["$effective_until", "$effective_from"]}, 1, 0]}
        shared_fields = ("multiplier", "effective_from", "made_by", "created_at")
        group: Document = {
            "_id": "$import_id",
            "versions": {"$sum": 1},
            "ended": {"$sum": ended},
            **{name: {"$first": f"${name}"} for name in shared_fields},
        }
        pipeline: list[Document] = [
            {"$match": {"import_id": ids}},
            {"$group": group},
            {"$sort": order},
            {"$limit": limit},
        ]
        return [
            from_document(
                {**row, "import_id": row["_id"], "undone": row["ended"] == row["versions"]},
                PriceImport,
            )
            for row in await self._prices.aggregate(pipeline).to_list(limit)
        ]


def _document(version: PriceVersion) -> Document:
    """With a mark on patterns, which no look-up by name finds."""
    document = to_document(version, key="price_id")
    return document | {"has_pattern": True} if has_pattern(version) else document
