"""Durations of the newest calls: a few fields of each entry, which no rollup has."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.common.storage.mongo.driver import DESCENDING, Database, Document

# The first stretch of the index on start times that is looked at. The next one is as long as the
# rest should take by what was found, and by some more, within these bounds: a server that decodes
# all of a stretch before it limits decodes little then.
_SPAN, _NARROWER, _WIDER = timedelta(hours=1), 0.25, 4.0
_MORE = 1.25


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
            cursor = self._entries.find(query, fields).sort("started_at", DESCENDING)
            remaining = limit - len(rows)
            page = await cursor.limit(remaining).to_list(remaining)
            rows += page
            wider = _MORE * (remaining - len(page)) / len(page) if page else _WIDER
            span, top = span * min(max(wider, _NARROWER), _WIDER), bottom
        return [_times(row) for row in rows if row.get("kind", "call") == "call"]


def _times(row: dict[str, Any]) -> CallTimes:
    return CallTimes(**{name: row.get(name) for name in CallTimes.__struct_fields__})
