"""`POST /admin/account-status`: suspends, resumes or archives the accounts that a filter finds."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.account import Account, AccountStatus
from libs.common.storage.mongo.account_spend import SpendingAccount
from libs.common.storage.mongo.slices import Rows, Slice, by_id, sliced
from services.admin.endpoints import Answer
from services.admin.fields import Metadata, SearchText, UserIds
from services.admin.pages import ListCursor, PageQuery, found_in
from services.admin.state import State

# The most accounts that one request changes; its cursor continues with the rest.
_MAX_CHANGED = 200
_MAX_NAMED = 1_000


class AccountFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Every given condition must hold. `q` is part of the user_id or the name."""

    user_ids: Annotated[UserIds, Meta(min_length=1, max_length=_MAX_NAMED)] | None = None
    q: SearchText | None = None
    status: AccountStatus | None = None
    metadata: Metadata | None = None

    def finds(self, account: Account) -> bool:
        return (
            (self.user_ids is None or account.user_id in self.user_ids)
            and (self.q is None or found_in(self.q, account.user_id, account.name))
            and self.status in (None, account.status)
            and (self.metadata or {}).items() <= account.metadata.items()
        )


class StatusBody(msgspec.Struct, frozen=True, kw_only=True):
    """`filter` has at least one condition."""

    status: AccountStatus
    filter: AccountFilter
    dry_run: bool = True
    cursor: ListCursor | UnsetType = UNSET


class StatusChange(msgspec.Struct, frozen=True, kw_only=True):
    """`user_ids` are those that change, or would. With a `next_cursor` there may be more.

    `missed` are accounts that somebody else changed meanwhile: repeat the request for them.
    """

    dry_run: bool
    status: AccountStatus
    accounts: int
    user_ids: list[str]
    missed: list[str]
    next_cursor: str | None


async def change_statuses(request: Request[State], body: StatusBody) -> Answer[StatusChange]:
    """Only accounts with another status change, so that a repeated request does nothing more."""
    state = request.state
    if body.filter == AccountFilter():
        raise ValidationFailed([FieldError("filter", "must have at least one condition")])
    reading = PageQuery(limit=_MAX_CHANGED, cursor=body.cursor).reading("user_id", "user_id")
    found = await _found(state, body, reading.slice)
    user_ids = [account.user_id for account in found.rows]
    changed = user_ids if body.dry_run else await _change(state, body.status, found.rows)
    headers = {}
    if changed and not body.dry_run:
        headers = await state["announcer"].announce("account", changed)
    content = StatusChange(
        dry_run=body.dry_run,
        status=body.status,
        accounts=len(changed),
        user_ids=changed,
        missed=[user_id for user_id in user_ids if user_id not in changed],
        next_cursor=reading.page(found, user_ids).next_cursor,
    )
    return Answer(content, headers=headers)


async def _found(state: State, body: StatusBody, part: Slice) -> Rows[SpendingAccount]:
    def keep(account: Account) -> bool:
        return account.status != body.status and body.filter.finds(account)

    if body.filter.user_ids is None:
        return await state["accounts"].slice(part, keep=keep, status=body.filter.status)
    accounts = await state["accounts"].get_many(body.filter.user_ids)
    return sliced(filter(keep, accounts), part, lambda account: by_id(account.user_id))


async def _change(state: State, status: AccountStatus, accounts: Sequence[Account]) -> list[str]:
    changed: list[str] = []
    for account in accounts:
        after = await state["accounts"].update(
            account.user_id,
            {"status": status, "revision": state["new_id"]()},
            state["now"](),
            revision=account.revision,
        )
        if after is not None:
            changed.append(account.user_id)
    return changed
