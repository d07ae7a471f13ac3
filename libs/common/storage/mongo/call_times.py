"""How long the newest calls took: a few fields of each entry, which no rollup has."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.common.storage.mongo.driver import DESCENDING, Database, Document

# The first stretch of the index on start times that is looked at; an empty one makes the next
# longer. A server that sorts before it limits sorts little then.
_SPAN, _WIDER = timedelta(hours=4), 4


class CallTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Of one call; None where its entry does not say."""

    latency_ms: float | None
    first_byte_ms: float | None
    overhead_ms: float | None


class CallTimesStore:
    """Reads the collection `entries`, which `LedgerStore` writes."""

    def __init__(self, database: Database) -> None:
        self._entries = database["entries"]

    async def newest(
        self, user_id: str | None, since: datetime, until: datetime, *, limit: int
    ) -> Sequence[CallTimes]:
        """Of the newest entries that started from `since` (inclusive) to `until`, at most `limit`.

        Corrections are among the entries, and left out.
        """
        of_account: Document = {} if user_id is None else {"user_id": user_id}
        fields = dict.fromkeys((*CallTimes.__struct_fields__, "kind"), 1) | {"_id": 0}
        rows: list[Document] = []
        span, top = _SPAN, until
        while since < top and len(rows) < limit:
            bottom = max(since, top - span)
            query = of_account | {"started_at": {"$gte": bottom, "$lt": top}}
            found = self._entries.find(query, fields).sort("started_at", DESCENDING)
            rows += await found.limit(limit - len(rows)).to_list(limit)
            span, top = span * _WIDER, bottom
        return [_times(row) for row in rows if row.get("kind", "call") == "call"]


def _times(row: dict[str, Any]) -> CallTimes:
    return CallTimes(**{name: row.get(name) for name in CallTimes.__struct_fields__})
