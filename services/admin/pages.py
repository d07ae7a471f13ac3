"""Pages of lists: `{"data", "next_cursor"}`.

A cursor says where its list goes on, and which kind of list gave it: another one is refused, since
it would be answered with rows from anywhere, or with none as if these were all.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from libs.common.errors import FieldError, ValidationFailed
from services.admin.fields import PageSize

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
_DIGEST_BYTES = 6
# Of the longest name of a model, each of whose characters takes four bytes.
_MAX_CURSOR = 2048

ListCursor = Annotated[str, Meta(min_length=1, max_length=_MAX_CURSOR)]


def cursor_of(kind: str, place: str) -> str:
    """`place` is what the list goes on after, `kind` names the list by the ids that it has."""
    text = place.encode()
    return urlsafe_b64encode(_digest(kind, text) + text).rstrip(b"=").decode()


def place_of(kind: str, cursor: str | UnsetType) -> str | None:
    """Raises ValidationFailed for a cursor that no list of the kind gave."""
    if cursor is UNSET:
        return None
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place = raw[_DIGEST_BYTES:].decode()
    except ValueError:
        place = None
    if place is None or cursor_of(kind, place) != cursor:
        message = "is not a cursor that this list gave: pass `next_cursor` as it is"
        raise ValidationFailed([FieldError("cursor", message)])
    return place


def _digest(kind: str, place: bytes) -> bytes:
    return sha256(kind.encode() + b"\0" + place).digest()[:_DIGEST_BYTES]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list."""

    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET

    def after(self, id_field: str) -> str | None:
        """The id that the page goes on after. Raises ValidationFailed."""
        return place_of(id_field, self.cursor)

    @property
    def fetch(self) -> int:
        """One row more than the page, to learn whether there is a next page."""
        return self.limit + 1

    def page(self, fetched: Sequence[T]) -> list[T]:
        """The fetched rows that belong on this page."""
        return list(fetched[: self.limit])

    def answer(self, fetched: Sequence[Any], data: Sequence[Any], id_field: str) -> dict[str, Any]:
        """`data` holds the views of the page's rows."""
        more = len(fetched) > self.limit
        last = getattr(fetched[self.limit - 1], id_field) if more else None
        return {"data": data, "next_cursor": None if last is None else cursor_of(id_field, last)}
