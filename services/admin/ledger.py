"""`/admin/ledger/entries` and `/admin/ledger/reprice`: explains entries and prices them again."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.corrections import net_nusd
from libs.common.domain.money import nusd_to_usd
from libs.common.errors import NotFound, Unavailable
from libs.common.schemas.correction import RepriceOrder
from libs.common.schemas.entry import EntryStatus, LedgerEntry
from libs.common.schemas.price import PriceVersion
from libs.common.storage.mongo.entries import EntrySelector
from libs.common.storage.mongo.slices import after_id
from libs.common.storage.redis.client import RedisError
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.entry_views import EntryView, entry_view
from services.admin.fields import Model, Provider, Reason, Time, UserId
from services.admin.pages import ListCursor, cursor_of, cursor_place
from services.admin.people.actor import actor_of
from services.admin.state import State
from services.admin.validation import check_span

# A late event that was unpriced has corrections of its own; no chain is deeper.
_MAX_DEPTH = 4
_PAGE = 500
# Entries that one request reads; its cursor continues with the rest.
_MAX_SELECTED = 10_000
_MAX_SPAN = timedelta(days=400)


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive) to `until` (exclusive)."""

    since: Time
    until: Time
    user_id: UserId | None = None
    model: Model | None = None
    provider: Provider | None = None
    status: EntryStatus | None = None


class RepriceBody(msgspec.Struct, frozen=True, kw_only=True):
    """`dry_run` computes the differences without ordering corrections."""

    selector: Selector
    dry_run: bool = True
    reason: Reason = "Priced again."
    cursor: ListCursor | UnsetType = UNSET


class ExplainedEntryView(EntryView, frozen=True, kw_only=True):
    """`price` is null for one of LiteLLM's map, which `price_id` names.

    `recorded`: whether GET /admin/recordings/{entry_id} has a recording of the call.
    """

    net_cost_usd: Decimal
    price: PriceVersion | None
    corrections: tuple[EntryView, ...]
    recorded: bool


class AccountDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Of the account's entries whose price changes."""

    user_id: str
    entries: int
    difference_usd: Decimal


class RepriceView(msgspec.Struct, frozen=True, kw_only=True):
    dry_run: bool
    entries_selected: int
    entries_changed: int
    difference_usd: Decimal
    accounts: tuple[AccountDifference, ...]
    next_cursor: str | None


async def show_entry(request: Request[State]) -> Answer[ExplainedEntryView]:
    """One entry, the version that priced it, and everything that corrects it."""
    state, entry_id = request.state, request.path_params["entry_id"]
    entry = await state["entries"].get(entry_id)
    if entry is None:
        raise NotFound(f"There is no entry '{entry_id[:128]}'.", param="entry_id")
    corrections: list[LedgerEntry] = []
    layer = [entry]
    for _ in range(_MAX_DEPTH):
        layer = await state["entries"].corrections_of(layer)
        if not layer:
            break
        corrections += layer
    price = None if entry.price_id is None else await state["prices"].get(entry.price_id)
    return Answer(
        ExplainedEntryView(
            **msgspec.structs.asdict(entry_view(entry)),
            net_cost_usd=nusd_to_usd(net_nusd(entry, corrections)),
            price=price,
            corrections=tuple(map(entry_view, corrections)),
            recorded=await state["recordings"].exists(entry_id),
        )
    )


async def reprice(request: Request[State], body: RepriceBody) -> Answer[RepriceView]:
    """Answers the differences to the prices valid now; the worker posts them unless `dry_run`."""
    state = request.state
    now = state["now"]()
    chosen = body.selector
    check_span(chosen.since, chosen.until, longest=_MAX_SPAN, field="selector.until")
    if chosen.user_id is not None:
        await find_account(state, chosen.user_id)
    if chosen.model is not None and not await state["rollups"].has_model(chosen.model):
        message = f"No call was ever routed to the model '{chosen.model}'."
        raise NotFound(message, param="selector.model")
    selector = EntrySelector(**msgspec.structs.asdict(chosen))
    after = cursor_place("reprice", body.cursor)
    selected, changes = 0, list[LedgerEntry]()
    made_by = actor_of(request).id
    more = True
    while more and selected < _MAX_SELECTED:
        page = await state["entries"].select(selector, after_id(after, _PAGE))
        more = len(page) == _PAGE
        if not page:
            break
        selected, after = selected + len(page), page[-1].entry_id
        found = await state["repricer"].corrections(
            page, reason=body.reason, made_by=made_by, posted_at=now
        )
        changes += found
        if found and not body.dry_run:
            await _order(state, body, found, made_by)
    view = RepriceView(
        dry_run=body.dry_run,
        entries_selected=selected,
        entries_changed=len(changes),
        difference_usd=nusd_to_usd(sum(row.cost_nusd for row in changes)),
        accounts=_by_account(changes),
        next_cursor=cursor_of("reprice", after) if more and after is not None else None,
    )
    return Answer(view, status=200 if body.dry_run else 202)


async def _order(
    state: State, body: RepriceBody, corrections: list[LedgerEntry], made_by: str
) -> None:
    """One order per page. The worker prices the entries again when it runs the order."""
    order = RepriceOrder(
        entry_ids=tuple(row.corrects for row in corrections if row.corrects is not None),
        reason=body.reason,
        made_by=made_by,
    )
    try:
        await state["correction_queue"].reprice(UUID(state["new_id"]()), order)
    except (RedisError, OSError) as error:
        message = "Redis does not answer. Some orders may be queued already; repeat the request."
        raise Unavailable(message, retry_after_s=2) from error


def _by_account(corrections: list[LedgerEntry]) -> tuple[AccountDifference, ...]:
    nusd: Counter[str] = Counter()
    entries: Counter[str] = Counter()
    for row in corrections:
        nusd[row.user_id] += row.cost_nusd
        entries[row.user_id] += 1
    return tuple(
        AccountDifference(
            user_id=user_id, entries=entries[user_id], difference_usd=nusd_to_usd(nusd[user_id])
        )
        for user_id in sorted(entries)
    )
