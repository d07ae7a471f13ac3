"""`/admin/recordings`: shows and deletes the recordings of calls."""

from datetime import datetime
from typing import Literal

import msgspec
from starlette.requests import Request

from libs.common.errors import NotFound
from libs.common.schemas.recording import Recording
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.queue.recordings import RecordingFilter
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import Id, Time, UserId
from services.admin.pages import Page, PageQuery
from services.admin.revisions import check_match, etag_of
from services.admin.state import State
from services.admin.validation import check_span

_BATCH = 1_000
# Recordings that one request deletes; `more` says that some are left.
_MAX_DELETED = 10_000


class RecordingQuery(PageQuery, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive."""

    user_id: UserId | None = None
    key_id: Id | None = None
    since: Time | None = None
    until: Time | None = None
    sort: Literal["call_id", "-call_id"] = "-call_id"


class DeletionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` is required, so that a request cannot delete all accounts' recordings."""

    user_id: UserId


class SideHead(msgspec.Struct, frozen=True, kw_only=True):
    """Of a side of a call, without its text."""

    size: int
    truncated: bool


class RecordingHead(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    call_id: str
    user_id: str
    key_id: str
    format: ClientFormat
    model: str | None
    started_at: datetime
    stream: bool
    http_status: int | None
    request: SideHead
    answer: SideHead
    expires_at: datetime


class DeletedView(msgspec.Struct, frozen=True, kw_only=True):
    """`more` asks to repeat the request."""

    deleted: int
    more: bool


async def list_recordings(
    request: Request[State], query: RecordingQuery
) -> Answer[Page[RecordingHead]]:
    """Without the texts; the newest first, unless `sort` says otherwise."""
    state = request.state
    if query.since is not None and query.until is not None:
        check_span(query.since, query.until)
    if query.user_id is not None:
        await find_account(state, query.user_id)
    filters = RecordingFilter(
        user_id=query.user_id,
        key_id=query.key_id,
        since=query.since,
        until=query.until,
    )
    reading = query.reading("call_id", query.sort)
    found = await state["recordings"].slice(filters, reading.slice)
    return Answer(reading.page(found, [_head(recording) for recording in found.rows]))


async def show_recording(request: Request[State]) -> Answer[Recording]:
    state, call_id = request.state, request.path_params["call_id"]
    recording = await state["recordings"].get(call_id)
    if recording is None:
        raise _unknown(call_id)
    return Answer(recording, headers=etag_of(recording))


async def delete_recording(request: Request[State]) -> Answer[None]:
    """Its ledger entry stays."""
    state, call_id = request.state, request.path_params["call_id"]
    recording = await state["recordings"].get(call_id)
    if recording is None:
        raise _unknown(call_id)
    check_match(request, recording)
    if not await state["recordings"].delete(call_id):
        raise _unknown(call_id)
    return Answer(None)


async def delete_recordings(request: Request[State], query: DeletionQuery) -> Answer[DeletedView]:
    """All recordings of an account, the oldest first. `more` asks the client to repeat."""
    state = request.state
    deleted, more = 0, True
    while more and deleted < _MAX_DELETED:
        batch = await state["recordings"].delete_of_account(query.user_id, limit=_BATCH)
        deleted, more = deleted + batch, batch == _BATCH
    return Answer(DeletedView(deleted=deleted, more=more))


def _head(recording: Recording) -> RecordingHead:
    return msgspec.convert(recording, RecordingHead, from_attributes=True)


def _unknown(call_id: str) -> NotFound:
    message = f"There is no recording of the call '{call_id[:128]}'; it may have expired."
    return NotFound(message, param="call_id")
