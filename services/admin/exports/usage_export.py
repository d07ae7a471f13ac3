"""`GET /admin/usage/export`: entries as a file."""

import re
from collections.abc import AsyncIterator
from datetime import datetime, tzinfo
from typing import Literal

from starlette.requests import Request

from libs.common.domain.periods import zone_of
from libs.common.storage.mongo.entry_filter import EntryFilter
from services.admin.exports.columns import COLUMNS, NAMES, UNREAD, row_of
from services.admin.exports.encoders import CsvEncoder, Encoder, NdjsonEncoder
from services.admin.exports.formats import CSV, NDJSON, PARQUET, ExportFormat, chosen_format
from services.admin.exports.stream import CellRows, ExportResponse
from services.admin.fields import TimeZone, UserId
from services.admin.state import State
from services.admin.usage import EntryQuery, of_one_account

_FORMATS = (CSV, NDJSON, PARQUET)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class ExportQuery(EntryQuery, frozen=True, kw_only=True):
    """Without a `zone`, the times of an entry are in that of its account. `format` wins over
    `Accept`; without either it is CSV.
    """

    user_id: UserId | None = None
    zone: TimeZone | None = None
    format: Literal["csv", "ndjson", "parquet"] | None = None


async def export_usage(request: Request[State], query: ExportQuery) -> ExportResponse:
    """All entries that the filters leave, the newest first, as CSV, lines of JSON or Parquet."""
    state = request.state
    kind = chosen_format(query.format, request.headers.get("accept", ""), _FORMATS)
    filters = await of_one_account(state, query.filters(query.user_id))
    zone = None if query.zone is None else zone_of(query.zone)
    pages = _pages(state, filters, state["now"](), zone)
    return ExportResponse(pages, _encoder(kind), kind, _name(query), state["export_slots"])


async def _pages(
    state: State, filters: EntryFilter, now: datetime, zone: tzinfo | None
) -> AsyncIterator[CellRows]:
    async for entries in state["ledger"].pages(filters, now=now, without=UNREAD):
        yield [row_of(entry, zone) for entry in entries]


def _encoder(kind: ExportFormat) -> Encoder:
    if kind is CSV:
        return CsvEncoder(NAMES)
    if kind is NDJSON:
        return NdjsonEncoder(NAMES)
    # Without pyarrow the module cannot be imported.
    from services.admin.exports.parquet import ParquetEncoder  # noqa: PLC0415

    return ParquetEncoder(COLUMNS)


def _name(query: ExportQuery) -> str:
    days = [f"{at:%Y-%m-%d}" for at in (query.since, query.until) if at is not None]
    parts = ["usage", query.user_id, query.period, *days]
    return "-".join(_UNSAFE.sub("_", part) for part in parts if part)
