"""`/admin/usage`: usage of accounts, entry by entry."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import usd_to_nusd
from libs.common.schemas.entry import EntryKind, EntryStatus, LedgerEntry
from libs.common.schemas.usage import UsageSource
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.entry_stretches import entry_place
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.entry_views import EntryView, entry_view
from services.admin.fields import (
    Id,
    LimitUsd,
    Model,
    PageSize,
    Period,
    Provider,
    Tag,
    Time,
    UserId,
)
from services.admin.pages import DEFAULT_PAGE_SIZE, ListCursor, Page, PageQuery
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State
from services.admin.validation import check_span


class EntryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive; wanted are entries that cost more than `above_usd`.

    `period` (`2026-11`, `2026-W48` or `2026-11-24`) is one of each account's own time zone. `model`
    is the name that was asked for, the one that was routed to, or provider/model.
    """

    since: Time | None = None
    until: Time | None = None
    period: Period | None = None
    model: Model | None = None
    key_id: Id | None = None
    provider: Provider | None = None
    deployment: Id | None = None
    status: EntryStatus | None = None
    error_code: Id | None = None
    kind: EntryKind | None = None
    usage_source: UsageSource | None = None
    client_user: Id | None = None
    provider_request_id: Id | None = None
    trace_id: Id | None = None
    above_usd: LimitUsd | None = None
    tag: Tag | None = None

    def filters(self, user_id: str | None) -> EntryFilter:
        """Raises ValidationFailed."""
        if self.since is not None and self.until is not None:
            check_span(self.since, self.until)
        fields = {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name in EntryFilter.__struct_fields__ and name != "user_id"
        }
        return EntryFilter(
            **fields,
            user_id=user_id,
            above_nusd=None if self.above_usd is None else usd_to_nusd(self.above_usd),
        )


class UsageQuery(EntryQuery, frozen=True, kw_only=True):
    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET


class AllUsageQuery(UsageQuery, frozen=True, kw_only=True):
    user_id: UserId | None = None


class AccountEntriesPage(Page[EntryView], frozen=True, kw_only=True):
    user_id: str
    spend: Spend


async def list_usage(request: Request[State], query: AllUsageQuery) -> Answer[Page[EntryView]]:
    """Entries of all accounts, or of those that the filters leave, the newest first."""
    state = request.state
    filters = await of_one_account(state, query.filters(query.user_id))
    return Answer(await _page(state, filters, query))


async def of_one_account(state: State, filters: EntryFilter) -> EntryFilter:
    """The filter with the account of its key, by which an index finds the entries.

    Raises NotFound for an unknown account.
    """
    if filters.user_id is not None:
        await find_account(state, filters.user_id)
    elif filters.key_id is not None:
        key = await state["keys"].get(filters.key_id)
        if key is not None:
            return msgspec.structs.replace(filters, user_id=key.user_id)
    return filters


async def show_usage(request: Request[State], query: UsageQuery) -> Answer[AccountEntriesPage]:
    """The account's entries, the newest first, and its spend."""
    state, user_id = request.state, request.path_params["user_id"]
    filters = query.filters(user_id)
    account = await find_account(state, user_id)
    page = await _page(state, filters, query)
    spends = await spend_of_accounts(state, [account])
    return Answer(
        AccountEntriesPage(**msgspec.structs.asdict(page), user_id=user_id, spend=spends[0])
    )


async def _page(state: State, filters: EntryFilter, query: UsageQuery) -> Page[EntryView]:
    """It may be short before the end: its cursors alone tell whether there is more."""
    page_query = PageQuery(limit=query.limit, cursor=query.cursor)
    reading = page_query.reading("entry_id", "-started_at", _entry_place)
    if reading.backwards:
        found = await state["ledger"].list_newer(filters, reading.slice)
    else:
        found = await _older(state, filters, reading.slice)
    return reading.page(found, [entry_view(entry) for entry in found.rows])


async def _older(state: State, filters: EntryFilter, part: Slice) -> Rows[LedgerEntry]:
    before = None if part.start is None else _entry_place(part.start)
    if before is not None and part.inclusive:
        # What comes next in the order of ids, the newest of one moment being first.
        before = msgspec.structs.replace(before, entry_id=f"{before.entry_id}~")
    page = await state["ledger"].list(
        msgspec.structs.replace(filters, before=before), now=state["now"](), limit=part.limit
    )
    return Rows(
        rows=page.entries,
        first=_row_place(entry_place(page.entries[0])) if page.entries else None,
        rest=None if page.last is None else _row_place(page.last),
    )


def _row_place(place: EntryPlace) -> RowPlace:
    return RowPlace(place.started_at, place.entry_id)


def _entry_place(place: RowPlace) -> EntryPlace:
    """Raises ValueError where it is not one of an entry."""
    match place.value:
        case datetime() as started_at:
            return EntryPlace(started_at, place.row_id)
        case text:
            raise ValueError(text)
