"""Pages of lists: `{"data", "next_cursor"}`, where the cursor is the last id of the page."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from services.admin.fields import Cursor, PageSize

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list."""

    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: Cursor | UnsetType = UNSET

    @property
    def after(self) -> str | None:
        return None if self.cursor is UNSET else self.cursor

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
        return {"data": data, "next_cursor": last}
