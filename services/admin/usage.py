"""`/admin/usage`: what accounts used, entry by entry."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import usd_to_nusd
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.entry import EntryKind, EntryStatus
from libs.common.schemas.usage import UsageSource
from libs.common.storage.mongo.entry_filter import EntryFilter, EntryPlace
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
from services.admin.pages import DEFAULT_PAGE_SIZE, ListCursor, cursor_of, place_of
from services.admin.spend import Spend, spend_of_accounts
from services.admin.state import State

_LIST = "usage"
_MS = 1000


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
    above_usd: LimitUsd | None = None
    tag: Tag | None = None

    def wanted(self, user_id: str | None) -> EntryFilter:
        """Raises ValidationFailed."""
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValidationFailed([FieldError("until", "must be later than since")])
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

    def page_of(self, user_id: str | None) -> EntryFilter:
        """Raises ValidationFailed."""
        before = _place_of(place_of(_LIST, self.cursor))
        return msgspec.structs.replace(self.wanted(user_id), before=before)


class AllUsageQuery(UsageQuery, frozen=True, kw_only=True):
    user_id: UserId | None = None


class EntriesPage(msgspec.Struct, frozen=True, kw_only=True):
    """It may be short before the end: `next_cursor` alone tells whether there is more."""

    data: tuple[EntryView, ...]
    next_cursor: str | None


class AccountEntriesPage(EntriesPage, frozen=True, kw_only=True):
    user_id: str
    spend: Spend


async def list_usage(request: Request[State], query: AllUsageQuery) -> Answer[EntriesPage]:
    """Entries of all accounts, or of those that the filters leave, the newest first."""
    state = request.state
    wanted = query.page_of(query.user_id)
    if query.user_id is not None:
        await find_account(state, query.user_id)
    return Answer(await _page(state, wanted, query))


async def show_usage(request: Request[State], query: UsageQuery) -> Answer[AccountEntriesPage]:
    """The account's entries, the newest first, and its spend."""
    state, user_id = request.state, request.path_params["user_id"]
    wanted = query.page_of(user_id)
    account = await find_account(state, user_id)
    page = await _page(state, wanted, query)
    spends = await spend_of_accounts(state, [account])
    return Answer(
        AccountEntriesPage(
            user_id=user_id, spend=spends[0], data=page.data, next_cursor=page.next_cursor
        )
    )


async def _page(state: State, wanted: EntryFilter, query: UsageQuery) -> EntriesPage:
    page = await state["ledger"].list(wanted, now=state["now"](), limit=query.limit)
    last = None if page.last is None else cursor_of(_LIST, _text_of(page.last))
    return EntriesPage(data=tuple(map(entry_view, page.entries)), next_cursor=last)


def _text_of(place: EntryPlace) -> str:
    """MongoDB keeps milliseconds."""
    return f"{round(place.started_at.timestamp() * _MS)} {place.entry_id}"


def _place_of(text: str | None) -> EntryPlace | None:
    if text is None:
        return None
    unix_ms, _, entry_id = text.partition(" ")
    return EntryPlace(datetime.fromtimestamp(int(unix_ms) / _MS, UTC), entry_id)
