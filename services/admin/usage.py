"""`/admin/usage`: what accounts used, entry by entry."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import usd_to_nusd
from libs.common.schemas.entry import EntryKind, EntryStatus, LedgerEntry
from libs.common.schemas.usage import UsageSource
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
from libs.common.storage.mongo.entry_stretches import place_of as entry_place
from libs.common.storage.mongo.slices import RowPlace, Slice
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
from services.admin.pages import DEFAULT_PAGE_SIZE, ListCursor, Page, cursor_of, place_by
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State
from services.admin.validation import check_span

_LIST = "usage"
# A cursor that begins so leads back: to what is before an entry, or with it.
_BACK = ("^", "=")
_MS = 1000


class _Mark(msgspec.Struct, frozen=True):
    """What a cursor holds; `back` is one of `_BACK`, or empty."""

    back: str
    place: EntryPlace


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

    def wanted(self, user_id: str | None) -> EntryFilter:
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
    wanted = await of_one_account(state, query.wanted(query.user_id))
    return Answer(await _page(state, wanted, query))


async def of_one_account(state: State, wanted: EntryFilter) -> EntryFilter:
    """The filter with the account of its key, by which an index finds the entries.

    Raises NotFound for an unknown account.
    """
    if wanted.user_id is not None:
        await find_account(state, wanted.user_id)
    elif wanted.key_id is not None:
        key = await state["keys"].get(wanted.key_id)
        if key is not None:
            return msgspec.structs.replace(wanted, user_id=key.user_id)
    return wanted


async def show_usage(request: Request[State], query: UsageQuery) -> Answer[AccountEntriesPage]:
    """The account's entries, the newest first, and its spend."""
    state, user_id = request.state, request.path_params["user_id"]
    wanted = query.wanted(user_id)
    account = await find_account(state, user_id)
    page = await _page(state, wanted, query)
    spends = await spend_of_accounts(state, [account])
    return Answer(
        AccountEntriesPage(**msgspec.structs.asdict(page), user_id=user_id, spend=spends[0])
    )


async def _page(state: State, wanted: EntryFilter, query: UsageQuery) -> Page[EntryView]:
    """It may be short before the end: its cursors alone tell whether there is more."""
    mark = place_by(_LIST, query.cursor, _mark_of)
    if mark is not None and mark.back:
        return await _page_before(state, wanted, query.limit, mark)
    before = None if mark is None else mark.place
    page = await state["ledger"].list(
        msgspec.structs.replace(wanted, before=before), now=state["now"](), limit=query.limit
    )
    previous = None
    if before is not None:
        first = page.entries[0] if page.entries else None
        # Without a first one, the page before ends with the place that this one went on after.
        previous = f"={_text_of(before)}" if first is None else f"^{_text_of(entry_place(first))}"
    following = None if page.last is None else _text_of(page.last)
    return _shown(page.entries, following, previous)


async def _page_before(
    state: State, wanted: EntryFilter, limit: int, mark: _Mark
) -> Page[EntryView]:
    place = mark.place
    start = RowPlace(place.started_at, place.entry_id)
    part = Slice(limit=limit, field="started_at", start=start, inclusive=mark.back == "=")
    found = await state["ledger"].list_newer(wanted, part)
    entries = found.rows[::-1]
    # Without any, the next page begins with the place that this one went back from, which comes
    # after such an id.
    beyond = EntryPlace(place.started_at, f"{place.entry_id}~")
    last = entry_place(entries[-1]) if entries else beyond
    rest = found.rest
    previous = None
    if rest is not None and isinstance(rest.value, datetime):
        previous = f"^{_text_of(EntryPlace(rest.value, rest.row_id))}"
    return _shown(entries, _text_of(last), previous)


def _shown(
    entries: Sequence[LedgerEntry], following: str | None, previous: str | None
) -> Page[EntryView]:
    return Page(
        data=tuple(map(entry_view, entries)),
        next_cursor=None if following is None else cursor_of(_LIST, following),
        previous_cursor=None if previous is None else cursor_of(_LIST, previous),
    )


def _text_of(place: EntryPlace) -> str:
    """MongoDB keeps milliseconds."""
    return f"{round(place.started_at.timestamp() * _MS)} {place.entry_id}"


def _mark_of(text: str) -> _Mark:
    back = text[:1] if text.startswith(_BACK) else ""
    unix_ms, _, entry_id = text.removeprefix(back).partition(" ")
    return _Mark(back, EntryPlace(datetime.fromtimestamp(int(unix_ms) / _MS, UTC), entry_id))
