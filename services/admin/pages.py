"""Pages of lists: `{"data", "next_cursor", "previous_cursor"}`.

A cursor holds the place where its list continues, and the kind of list: a cursor of another kind is
refused, since it would select arbitrary rows, or none.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import InvalidRequest
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice
from services.admin.fields import PageSize, described

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
_DIGEST_BYTES = 6
_MS = 1000
# Of the longest name of a model, each of whose characters takes four bytes.
_MAX_CURSOR = 2048
# What JSON's readers and MongoDB hold exactly.
_MAX_SEQUENCE = 2**53

_encode = msgspec.json.Encoder().encode
# Without a rule: `cursor_place` refuses alike whatever is not a cursor of its list.
ListCursor = Annotated[str, described(minLength=1, maxLength=_MAX_CURSOR)]


def found_in(q: str | UnsetType, *texts: str) -> bool:
    """Whether one of the texts contains what is searched for."""
    return q is UNSET or any(q.casefold() in text.casefold() for text in texts)


def cursor_of(kind: str, place: str) -> str:
    """`place` is what the list goes on after, `kind` names the list by the ids that it has."""
    text = place.encode()
    return urlsafe_b64encode(_digest(kind, text) + text).rstrip(b"=").decode()


def cursor_place(kind: str, cursor: str | UnsetType) -> str | None:
    """Raises InvalidRequest for a cursor that no list of the kind gave."""
    if cursor is UNSET:
        return None
    if len(cursor) > _MAX_CURSOR:
        raise _foreign_cursor()
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place = raw[_DIGEST_BYTES:].decode()
    except ValueError:
        place = None
    if place is None or cursor_of(kind, place) != cursor:
        raise _foreign_cursor()
    return place


def place_by(kind: str, cursor: str | UnsetType, read: Callable[[str], T]) -> T | None:
    """The place, converted by `read`. Raises InvalidRequest for a made-up place."""
    place = cursor_place(kind, cursor)
    try:
        return None if place is None else read(place)
    except (*UNREADABLE, OverflowError, OSError):
        raise _foreign_cursor() from None


def sequence_of(place: str) -> int:
    """Raises ValueError."""
    number = int(place)
    if not 0 <= number < _MAX_SEQUENCE:
        raise ValueError(place)
    return number


def _foreign_cursor() -> InvalidRequest:
    message = (
        "The cursor is not one that this list gave, in this order: pass `next_cursor` or "
        "`previous_cursor` as it is."
    )
    return InvalidRequest(message, param="cursor")


def _digest(kind: str, place: bytes) -> bytes:
    return sha256(kind.encode() + b"\0" + place).digest()[:_DIGEST_BYTES]


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`next_cursor` and `previous_cursor` lead to the pages beside it; null where there is none.

    A page of a list with filters may be short, or empty, before the end: one request reads a
    bounded number of rows.
    """

    data: Sequence[T]
    next_cursor: str | None
    previous_cursor: str | None


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    """The content of a cursor: a place, and the direction of reading. A time is in milliseconds."""

    backwards: bool
    inclusive: bool
    row_id: str
    value: str | int | None = None

    @property
    def place(self) -> RowPlace:
        if isinstance(self.value, int):
            return RowPlace(datetime.fromtimestamp(self.value / _MS, UTC), self.row_id)
        return RowPlace(self.row_id if self.value is None else self.value, self.row_id)


_decode = msgspec.json.Decoder(_Mark).decode


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A page that is asked for. `kind` names the list and its order."""

    kind: str
    slice: Slice
    backwards: bool

    def page(self, rows: Rows[Any], views: Sequence[T]) -> Page[T]:
        """Of the rows that the slice found; `views` are theirs, in the order of reading."""
        # The rest is ahead; behind is where this reading came from, if it did not begin the list.
        ahead = None if rows.rest is None else self._cursor(rows.rest, self.backwards)
        behind = None
        start = self.slice.start
        if start is not None:
            # With no rows there is no first one to go back from: the page ends with the start.
            inclusive = rows.first is None and not self.slice.inclusive
            behind = self._cursor(rows.first or start, not self.backwards, inclusive)
        if self.backwards:
            return Page(data=views[::-1], next_cursor=behind, previous_cursor=ahead)
        return Page(data=views, next_cursor=ahead, previous_cursor=behind)

    def _cursor(self, place: RowPlace, backwards: bool, inclusive: bool = False) -> str:
        value: str | int | None = None
        if isinstance(place.value, datetime):
            value = round(place.value.timestamp() * _MS)
        elif place.value != place.row_id:
            value = place.value
        mark = _Mark(backwards, inclusive, place.row_id, value)
        return cursor_of(self.kind, _encode(mark).decode())


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list."""

    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET

    def reading(
        self,
        id_field: str,
        sort: str | None = None,
        check: Callable[[RowPlace], object] = lambda _: None,
    ) -> Reading:
        """`sort` is a field, with a minus for the other way; None: by id. Raises AppError.

        `check` raises ValueError for a place that no row of the list can have.
        """
        sort = sort or id_field
        kind = f"{id_field} by {sort}"
        field = sort.removeprefix("-")

        def read(text: str) -> _Mark:
            mark = _decode(text)
            # A time that no calendar has fails here.
            check(mark.place)
            return mark

        mark = place_by(kind, self.cursor, read)
        backwards = mark is not None and mark.backwards
        page_slice = Slice(
            limit=self.limit,
            field="_id" if field == id_field else field,
            descending=sort.startswith("-") != backwards,
            start=None if mark is None else mark.place,
            inclusive=mark is not None and mark.inclusive,
        )
        return Reading(kind=kind, slice=page_slice, backwards=backwards)
