"""`/admin/ledger/provider-costs`: the costs that providers report, beside the ledger's.

Compared is the sum of an entry's lines, before mark-ups and discounts (but with them where models
with different ones ran in one call); of a call that was priced again, those of its last pricing.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import EXACT, plain_amount
from libs.common.schemas.entry import CostLine, LedgerEntry
from libs.common.storage.mongo.entries import EntrySelector
from libs.common.storage.mongo.slices import RowPlace, Rows, Slice, by_id
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.fields import Model, Provider, Time, UserId
from services.admin.pages import PageQuery
from services.admin.price_fields import Rate
from services.admin.state import State
from services.admin.validation import check_span

_PAGE = 500
# Entries that one request reads; its cursor goes on with the rest.
_MAX_READ = 10_000
_MAX_MODELS = 50
_MAX_SPAN = timedelta(days=400)
_DEFAULT_SPAN = timedelta(days=30)
_NOTHING = Decimal(0)
_FINEST_USD = Decimal("1e-15")
_ROUNDING = Context(prec=60)


class DifferencesQuery(PageQuery, frozen=True, kw_only=True):
    """Calls that started from `since` (inclusive, by default 30 days before) to `until`.

    Shown are those that differ by more than `above_usd`, whichever is larger.
    """

    since: Time | UnsetType = UNSET
    until: Time | UnsetType = UNSET
    user_id: UserId | None = None
    provider: Provider | None = None
    model: Model | None = None
    above_usd: Rate = _NOTHING


class _Reported(msgspec.Struct, frozen=True):
    entry: LedgerEntry
    provider_usd: Decimal
    lines_usd: Decimal

    @property
    def difference_usd(self) -> Decimal:
        return EXACT.subtract(self.lines_usd, self.provider_usd)


class _Costs(msgspec.Struct, frozen=True, kw_only=True):
    provider_cost_usd: Decimal
    lines_usd: Decimal
    difference_usd: Decimal


class ModelCosts(_Costs, frozen=True, kw_only=True):
    provider: str | None
    model: str | None
    entries: int


class CallCosts(_Costs, frozen=True, kw_only=True):
    entry_id: str
    user_id: str
    started_at: datetime
    provider: str | None
    model: str | None
    price_id: str | None


class ProviderCostsPage(_Costs, frozen=True, kw_only=True):
    """The differing calls, and the sums of all that the page read."""

    since: datetime
    until: datetime
    entries_reported: int
    models: tuple[ModelCosts, ...]
    data: tuple[CallCosts, ...]
    next_cursor: str | None
    previous_cursor: str | None


async def list_provider_costs(
    request: Request[State], query: DifferencesQuery
) -> Answer[ProviderCostsPage]:
    """The differing calls of a page, and sums of all that the page read, by model."""
    state = request.state
    now = state["now"]()
    selector = _selector(query, now)
    if query.user_id is not None:
        await find_account(state, query.user_id)
    reading = query.reading("provider_cost")
    found, differing = await _found(state, query, selector, reading.slice)
    page = reading.page(differing, [_view(each) for each in differing.rows])
    return Answer(
        ProviderCostsPage(
            since=selector.since,
            until=selector.until,
            entries_reported=len(found),
            **_sums(found),
            models=tuple(_by_model(found)),
            data=tuple(page.data),
            previous_cursor=page.previous_cursor,
            next_cursor=page.next_cursor,
        )
    )


async def _found(
    state: State, query: DifferencesQuery, selector: EntrySelector, part: Slice
) -> tuple[list[_Reported], Rows[_Reported]]:
    """What was read and has a reported cost, and what of it differs."""
    found: list[_Reported] = []
    differing: list[_Reported] = []
    first: RowPlace | None = None
    last, entries_read = part.start, 0
    while entries_read < _MAX_READ:
        next_slice = msgspec.structs.replace(part, start=last, limit=_PAGE)
        if entries_read:
            next_slice = msgspec.structs.replace(next_slice, inclusive=False)
        entries = await state["entries"].select(selector, next_slice)
        reported = {each.entry.entry_id: each for each in await _reported(state, entries)}
        for entry in entries:
            each = reported.get(entry.entry_id)
            differs = each is not None and each.difference_usd.copy_abs() > query.above_usd
            if differs and len(differing) == part.limit:
                # It is the next page's.
                return found, Rows(rows=differing, first=first, rest=last)
            last, entries_read = by_id(entry.entry_id), entries_read + 1
            if each is not None:
                found.append(each)
                if differs:
                    differing.append(each)
                    first = first or last
        if len(entries) < _PAGE:
            return found, Rows(rows=differing, first=first, rest=None)
    return found, Rows(rows=differing, first=first, rest=last)


def _selector(query: DifferencesQuery, now: datetime) -> EntrySelector:
    until = now if query.until is UNSET else query.until
    earliest = datetime.min.replace(tzinfo=UTC) + _DEFAULT_SPAN
    since = max(until, earliest) - _DEFAULT_SPAN if query.since is UNSET else query.since
    check_span(since, until, longest=_MAX_SPAN)
    return EntrySelector(
        since=since,
        until=until,
        user_id=query.user_id,
        provider=query.provider,
        model=query.model,
    )


async def _reported(state: State, entries: Sequence[LedgerEntry]) -> list[_Reported]:
    """Those of the entries whose provider told a cost."""
    pairs = [
        (entry, entry.usage.provider_cost_usd)
        for entry in entries
        if entry.usage is not None and entry.usage.provider_cost_usd is not None
    ]
    if not pairs:
        return []
    lines = {entry.entry_id: entry.lines for entry, _ in pairs}
    for correction in await state["entries"].corrections_of([entry for entry, _ in pairs]):
        if correction.kind == "reprice" and correction.corrects is not None:
            lines[correction.corrects] = correction.lines
    return [
        # A provider may write any number of digits.
        _Reported(
            entry, usd.quantize(_FINEST_USD, context=_ROUNDING), _sum_of(lines[entry.entry_id])
        )
        for entry, usd in pairs
    ]


def _sum_of(lines: Sequence[CostLine]) -> Decimal:
    total = _NOTHING
    for line in lines:
        total = EXACT.add(total, line.amount)
    return total


def _sums(found: Sequence[_Reported]) -> dict[str, Decimal]:
    provider_usd, lines_usd = _NOTHING, _NOTHING
    for each in found:
        provider_usd = EXACT.add(provider_usd, each.provider_usd)
        lines_usd = EXACT.add(lines_usd, each.lines_usd)
    return {
        "provider_cost_usd": plain_amount(provider_usd),
        "lines_usd": plain_amount(lines_usd),
        "difference_usd": plain_amount(EXACT.subtract(lines_usd, provider_usd)),
    }


def _by_model(found: Sequence[_Reported]) -> list[ModelCosts]:
    """Those that differ most first."""
    groups: defaultdict[tuple[str | None, str | None], list[_Reported]] = defaultdict(list)
    for each in found:
        groups[each.entry.provider, each.entry.model].append(each)
    views = [
        ModelCosts(provider=provider, model=model, entries=len(group), **_sums(group))
        for (provider, model), group in groups.items()
    ]
    views.sort(key=lambda view: -abs(view.difference_usd))
    return views[:_MAX_MODELS]


def _view(each: _Reported) -> CallCosts:
    entry = each.entry
    return CallCosts(
        entry_id=entry.entry_id,
        user_id=entry.user_id,
        started_at=entry.started_at,
        provider=entry.provider,
        model=entry.model,
        price_id=entry.price_id,
        provider_cost_usd=plain_amount(each.provider_usd),
        lines_usd=plain_amount(each.lines_usd),
        difference_usd=plain_amount(each.difference_usd),
    )
