"""`/admin/audit`: what was done by this API, by whom, and its export."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import StreamingResponse

from libs.common.schemas.audit import AuditRecord
from libs.common.schemas.person import Role
from services.admin.clock import to_utc_ms
from services.admin.endpoints import Answer
from services.admin.fields import Id, PageSize, Time
from services.admin.pages import (
    DEFAULT_PAGE_SIZE,
    ListCursor,
    Page,
    cursor_of,
    place_by,
    sequence_of,
)
from services.admin.state import State
from services.admin.validation import check_span

_KIND = "audit_seq"
# A cursor that begins so leads to newer records.
_BACK = "^"
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
        wanted = {name: getattr(self, name) for name in names}
        query = {name: value for name, value in wanted.items() if value is not UNSET}
        times = {"$gte": self.since, "$lt": self.until}
        given = {name: to_utc_ms(at) for name, at in times.items() if at is not UNSET}
        return {**query, "at": given} if given else query


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
    start = _mark(query.cursor)
    read = await _read(request.state, query, start)
    ahead = None if read.rest is None else _cursor(_Mark(start.backwards, read.rest))
    behind = None
    if start.seq is not None:
        # Without a row, the page that leads here ends with the record where this one began.
        begins = read.rows[0].seq if read.rows else start.seq + (1 if start.backwards else -1)
        behind = _cursor(_Mark(not start.backwards, begins))
    views = [_view(row) for row in read.rows]
    if start.backwards:
        return Answer(Page(data=views[::-1], next_cursor=behind, previous_cursor=ahead))
    return Answer(Page(data=views, next_cursor=ahead, previous_cursor=behind))


class _Mark(msgspec.Struct, frozen=True):
    """Where reading goes on, and whether towards the newer records."""

    backwards: bool
    seq: int | None


class _Read(msgspec.Struct, frozen=True):
    rows: Sequence[AuditRecord]
    rest: int | None


async def _read(state: State, query: AuditQuery, start: _Mark) -> _Read:
    log, at = state["audit_log"], start.seq
    rows: list[AuditRecord] = []
    for _ in range(_MAX_BATCHES):
        if start.backwards:
            found = await log.after(at or 0, limit=_BATCH, query=query.query())
        else:
            found = await log.newest(query.query(), before=at, limit=_BATCH)
        shown = await _shown(state, found)
        room = query.limit - len(rows)
        rows += shown[:room]
        if len(shown) > room:
            return _Read(rows, rows[-1].seq)
        if len(found) < _BATCH:
            return _Read(rows, None)
        at = found[-1].seq
    return _Read(rows, at)


def _mark(cursor: str | UnsetType) -> _Mark:
    return place_by(_KIND, cursor, _mark_of) or _Mark(False, None)


def _mark_of(text: str) -> _Mark:
    return _Mark(text.startswith(_BACK), sequence_of(text.removeprefix(_BACK)))


def _cursor(mark: _Mark) -> str:
    return cursor_of(_KIND, f"{_BACK if mark.backwards else ''}{mark.seq}")


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


async def _shown(state: State, found: Sequence[AuditRecord]) -> list[AuditRecord]:
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
