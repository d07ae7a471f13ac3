"""`/admin/audit`: the audit log of this API, and its export."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import StreamingResponse

from libs.common.schemas.audit import AuditRecord
from libs.common.schemas.person import Role
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice, by_id
from services.admin.clock import to_utc_ms
from services.admin.endpoints import Answer
from services.admin.fields import Id, PageSize, Time
from services.admin.pages import DEFAULT_PAGE_SIZE, ListCursor, Page, PageQuery, sequence_of
from services.admin.state import State
from services.admin.validation import check_span

_BATCH = 200
# An intent and its outcome are one row, so half of what is read is not shown.
_MAX_BATCHES = 20
_FIRST_ERROR = 400
_FIRST_FAULT = 500
_EXPORT_TYPE = "application/x-ndjson"

# An intent without an outcome: the write may have been done, or not.
AuditOutcome = Literal["done", "refused", "failed", "unknown"]


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; `actor` an id; `action` such as change_account."""

    actor: Id | UnsetType = UNSET
    action: Id | UnsetType = UNSET
    kind: Id | UnsetType = UNSET
    object: Id | UnsetType = UNSET
    request_id: Id | UnsetType = UNSET
    since: Time | UnsetType = UNSET
    until: Time | UnsetType = UNSET

    def query(self) -> dict[str, Any]:
        """As the store takes it. Raises ValidationFailed."""
        if self.since is not UNSET and self.until is not UNSET:
            check_span(self.since, self.until)
        names = ("actor", "action", "kind", "object", "request_id")
        values = {name: getattr(self, name) for name in names}
        query = {name: value for name, value in values.items() if value is not UNSET}
        times = {"$gte": self.since, "$lt": self.until}
        bounds = {name: to_utc_ms(at) for name, at in times.items() if at is not UNSET}
        return {**query, "at": bounds} if bounds else query


class AuditQuery(AuditFilter, frozen=True, kw_only=True):
    """A page of writes, the newest first."""

    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """A write. `status` and `code` are those of its answer, `asked` the body that it came with."""

    seq: int
    at: datetime
    actor: str
    actor_name: str
    role: Role
    action: str
    kind: str
    object: str | None
    outcome: AuditOutcome
    status: int | None
    code: str | None
    address: str
    request_id: str
    asked: Any
    before: Any
    after: Any
    hash: str


async def list_audit(request: Request[State], query: AuditQuery) -> Answer[Page[AuditView]]:
    """The newest first."""
    page_query = PageQuery(limit=query.limit, cursor=query.cursor)
    reading = page_query.reading("seq", "-seq", _seq_of)
    found = await _read(request.state, query.query(), reading.slice)
    return Answer(reading.page(found, [_view(row) for row in found.rows]))


async def _read(state: State, query: dict[str, Any], part: Slice) -> Rows[AuditRecord]:
    log, rows = state["audit_log"], list[AuditRecord]()
    at = None if part.start is None else _seq_of(part.start)
    if at is not None and part.inclusive:
        at += 1 if part.descending else -1
    for _ in range(_MAX_BATCHES):
        if part.descending:
            found = await log.newest(query, before=at, limit=_BATCH)
        else:
            found = await log.after(at or 0, limit=_BATCH, query=query)
        records = await _without_settled(state, found)
        room = part.limit - len(rows)
        rows += records[:room]
        if len(records) > room:
            return _rows(rows, rows[-1].seq)
        if len(found) < _BATCH:
            return _rows(rows, None)
        at = found[-1].seq
    return _rows(rows, at)


def _rows(rows: list[AuditRecord], rest: int | None) -> Rows[AuditRecord]:
    return Rows(
        rows=rows,
        first=by_id(str(rows[0].seq)) if rows else None,
        rest=None if rest is None else by_id(str(rest)),
    )


def _seq_of(place: RowPlace) -> int:
    """Raises ValueError."""
    return sequence_of(place.row_id)


async def export_audit(request: Request[State], query: AuditFilter) -> StreamingResponse:
    """The records themselves, one a line, the oldest first."""
    return StreamingResponse(
        _lines(request.state, query.query()),
        media_type=_EXPORT_TYPE,
        headers={"content-disposition": 'attachment; filename="audit.ndjson"'},
    )


async def _lines(state: State, query: dict[str, Any]) -> AsyncIterator[bytes]:
    seq = 0
    while records := await state["audit_log"].after(seq, limit=_BATCH, query=query):
        yield msgspec.json.Encoder().encode_lines(records)
        seq = records[-1].seq


async def _without_settled(state: State, found: Sequence[AuditRecord]) -> list[AuditRecord]:
    """Without the intents whose outcome is known."""
    intents = [record.seq for record in found if record.phase == "intent"]
    settled = await state["audit_log"].settled(intents) if intents else set()
    return [record for record in found if record.seq not in settled]


def _view(record: AuditRecord) -> AuditView:
    return AuditView(
        seq=record.seq,
        at=record.at,
        actor=record.actor,
        actor_name=record.actor_name,
        role=record.role,
        action=record.action,
        kind=record.kind,
        object=record.object,
        outcome=_outcome(record),
        status=record.status,
        code=record.code,
        address=record.address,
        request_id=record.request_id,
        asked=_json(record.asked),
        before=_json(record.before),
        after=_json(record.after),
        hash=record.hash,
    )


def _outcome(record: AuditRecord) -> AuditOutcome:
    if record.status is None:
        return "unknown"
    if record.status < _FIRST_ERROR:
        return "done"
    return "refused" if record.status < _FIRST_FAULT else "failed"


def _json(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
