"""Reads a slice of a collection in the order of one field, in either direction.

One query in the order of an index, which reads a bounded number of documents. So whatever else a
list is asked for needs no index: rows are left out as they are read, and a slice may be short
before the end.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from libs.common.storage.mongo.driver import (
    ASCENDING,
    DESCENDING,
    Collection,
    Document,
    from_document,
)

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")

# Documents that one slice reads.
MAX_READ = 5_000
_BATCH = 1_000


class RowPlace(msgspec.Struct, frozen=True):
    """Where a row stands: by the value of the field in whose order it is read, then by its id."""

    value: str | datetime
    row_id: str

    @property
    def order(self) -> tuple[Any, str]:
        """Comparable with that of places by the same field."""
        return self.value, self.row_id


def by_id(row_id: str) -> RowPlace:
    """In the order of ids."""
    return RowPlace(row_id, row_id)


def after_id(row_id: str | None, limit: int) -> "Slice":
    """The next rows in the order of ids; None: the first ones."""
    return Slice(limit=limit, start=None if row_id is None else by_id(row_id))


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """The rows beyond `start`, or with it if `inclusive`; None is the beginning."""

    limit: int
    field: str = "_id"
    descending: bool = False
    start: RowPlace | None = None
    inclusive: bool = False

    def covers(self, place: RowPlace) -> bool:
        """Whether a row that stands there is in the slice, apart from the limit."""
        start = self.start
        if start is None or place == start:
            return start is None or self.inclusive
        return (place.order < start.order) == self.descending

    def stretches(self) -> list[Document]:
        """Conditions of the queries that find the rows, in their order."""
        if self.start is None:
            return [{}]
        operator = "$lt" if self.descending else "$gt"
        ids = {f"{operator}e" if self.inclusive else operator: self.start.row_id}
        if self.field == "_id":
            return [{"_id": ids}]
        value = self.start.value
        return [{self.field: value, "_id": ids}, {self.field: {operator: value}}]

    @property
    def ids(self) -> Document:
        """The one condition of a slice in the order of ids."""
        (condition,) = self.stretches()
        return condition

    def order(self, *, same_value: bool) -> list[tuple[str, int]]:
        direction = DESCENDING if self.descending else ASCENDING
        fields = ["_id"] if same_value or self.field == "_id" else [self.field, "_id"]
        return [(field, direction) for field in fields]


class Rows(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`first` is where the first row stands, `rest` where reading goes on: None at the end."""

    rows: list[T]
    first: RowPlace | None
    rest: RowPlace | None


async def read_slice(
    collection: Collection,
    query: Document,
    part: Slice,
    struct_type: type[S],
    *,
    keep: Callable[[S], bool] | None = None,
    projection: Document | None = None,
    most: int = MAX_READ,
    keeps_few: bool = False,
) -> Rows[S]:
    """Reads no more than `most` rows, at once where it `keeps_few`.

    `query` has conditions that the index serves before the field of the order; `keep` others.
    """
    rows: list[S] = []
    first = last = None
    rest, left, size = part, most, most if keeps_few else part.limit + 1
    while True:
        documents = await _chunk(collection, query, rest, min(size, left), projection)
        for document in documents:
            row = from_document(document, struct_type)
            if keep is None or keep(row):
                if len(rows) == part.limit:
                    return Rows(rows=rows, first=first, rest=last)
                rows.append(row)
                last = _place(document, part.field)
                first = first or last
        if len(documents) < min(size, left):
            return Rows(rows=rows, first=first, rest=None)
        place = _place(documents[-1], part.field)
        left -= len(documents)
        if left == 0:
            return Rows(rows=rows, first=first, rest=place)
        rest = msgspec.structs.replace(rest, start=place, inclusive=False)
        # Where most is left out, few queries beat small ones.
        size = _BATCH if 2 * len(rows) < most - left else part.limit + 1


async def _chunk(
    collection: Collection, query: Document, part: Slice, size: int, projection: Document | None
) -> list[Document]:
    documents: list[Document] = []
    for stretch in part.stretches():
        if len(documents) < size:
            order = part.order(same_value=isinstance(stretch.get(part.field), str | datetime))
            cursor = collection.find(both_conditions(query, stretch), projection).sort(order)
            documents += await cursor.limit(size - len(documents)).to_list(size - len(documents))
    return documents


def sliced(rows: Iterable[T], part: Slice, place_of: Callable[[T], RowPlace]) -> Rows[T]:
    """The same of rows in memory."""
    pairs = [(place_of(row), row) for row in rows]
    pairs = [pair for pair in pairs if part.covers(pair[0])]
    pairs.sort(key=lambda pair: pair[0].order, reverse=part.descending)
    page = pairs[: part.limit]
    has_more = len(pairs) > len(page)
    return Rows(
        rows=[row for _, row in page],
        first=page[0][0] if page else None,
        rest=page[-1][0] if has_more else None,
    )


def both_conditions(query: Document, stretch: Document) -> Document:
    """Both conditions, of one field as well."""
    merged = {**query, **stretch}
    for field in query.keys() & stretch.keys():
        term = stretch[field]
        bounds = {**query[field]}
        for name, value in (term if isinstance(term, dict) else {"$eq": term}).items():
            tighter = min if name.startswith("$lt") else max
            bounds[name] = tighter(bounds.get(name, value), value)
        merged[field] = bounds
    return merged


def _place(document: Document, field: str) -> RowPlace:
    return RowPlace(document[field], document["_id"])
