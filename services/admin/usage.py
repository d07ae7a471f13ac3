"""`/admin/usage`: what an account used, entry by entry."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from libs.common.domain.money import nusd_to_usd
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.entry import CostLine, LedgerEntry
from libs.common.schemas.usage import TokenCounts
from libs.common.storage.mongo.ledger_reader import EntryFilter
from libs.common.web.json import json_response
from services.admin.accounts import find_account
from services.admin.fields import Cursor, Model, Time
from services.admin.pages import PageQuery
from services.admin.spend import spend_of_accounts
from services.admin.state import State
from services.admin.validation import query_struct

_MILLION = 1_000_000
_TOKEN_CLASSES = frozenset(TokenCounts.__struct_fields__)


class UsageQuery(PageQuery, frozen=True, kw_only=True):
    """`since` is inclusive, `until` exclusive."""

    since: Time | UnsetType = UNSET
    until: Time | UnsetType = UNSET
    model: Model | UnsetType = UNSET
    key_id: Cursor | UnsetType = UNSET


async def show_usage(request: Request[State]) -> Response:
    """The account's entries, the newest first, and its spend."""
    state, user_id = request.state, request.path_params["user_id"]
    query = query_struct(request, UsageQuery, state["now"]())
    if query.since is not UNSET and query.until is not UNSET and query.since >= query.until:
        raise ValidationFailed([FieldError("until", "must be later than since")])
    account = await find_account(state, user_id)
    wanted = EntryFilter(
        user_id=user_id,
        since=_given(query.since),
        until=_given(query.until),
        model=_given(query.model),
        key_id=_given(query.key_id),
        before=query.after,
    )
    fetched = await state["ledger"].list(wanted, limit=query.fetch)
    spends = await spend_of_accounts(state, [account])
    views = [entry_view(entry) for entry in query.page(fetched)]
    answer = query.answer(fetched, views, "entry_id")
    return json_response({"user_id": user_id, "spend": spends[0], **answer})


def _given(value: Any) -> Any:
    return None if value is UNSET else value


def entry_view(entry: LedgerEntry) -> dict[str, Any]:
    """The entry with its amounts in USD; `usage` leaves out what was not reported."""
    fields = msgspec.structs.asdict(entry)
    cost_nusd, held_nusd = fields.pop("cost_nusd"), fields.pop("held_nusd")
    return {
        **fields,
        "cost_usd": nusd_to_usd(cost_nusd),
        "held_usd": nusd_to_usd(held_nusd),
        "lines": [line_view(line) for line in entry.lines],
    }


def line_view(line: CostLine) -> dict[str, Any]:
    """`amount_usd` is `quantity * rate_usd / per`; an unpriced line has neither yet.

    `model`, `run` and `price_id` are there where the line is another model's, or another run.
    """
    view: dict[str, Any] = {
        "item": line.item,
        "quantity": line.quantity,
        "rate_usd": None if line.unpriced else line.rate,
        "per": _MILLION if line.item in _TOKEN_CLASSES else 1,
        "amount_usd": None if line.unpriced else line.amount,
    }
    further = {"model": line.model, "run": line.run, "price_id": line.price_id}
    return view | {name: value for name, value in further.items() if value is not None}
