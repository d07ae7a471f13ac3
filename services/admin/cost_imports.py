"""`/admin/costs/import` and `/admin/costs/imports`: stores the prices of a map as versions.

Without an import LiteLLM's bundled map applies as it is, and its prices change with its release.
Imported versions stay until the next import or its undoing; an administrator's price takes
precedence.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request

from libs.common.domain.money import plain_amount
from libs.common.domain.price_lookup import model_names
from libs.common.errors import FieldError, InvalidRequest, NotFound, ValidationFailed
from libs.common.schemas.price import AT_COST, PriceImport, PriceSource, PriceVersion
from libs.common.storage.mongo.prices import PriceFilter
from libs.common.storage.prices.price_map import MapModel, NotPriced, PriceMap
from services.admin.alerts.prices import tell_import
from services.admin.bundled_prices import mapped, routed_name
from services.admin.clock import to_utc_ms
from services.admin.cost_changes import (
    ChangeKind,
    CostMapReading,
    ImportRow,
    Terms,
    read_map,
    rows_of,
)
from services.admin.cost_views import Change, changes_of
from services.admin.endpoints import Answer
from services.admin.fields import Model, PageSize, Provider, Time
from services.admin.pages import (
    DEFAULT_PAGE_SIZE,
    ListCursor,
    Page,
    PageQuery,
    cursor_of,
    cursor_place,
)
from services.admin.people.actor import actor_of
from services.admin.price_fields import Multiplier
from services.admin.revisions import check_match, etag_of
from services.admin.state import State
from services.admin.validation import FieldRule

# LiteLLM's own has 3.5 MB and 5,000 rows.
MAX_MAP_BYTES = 16 * 1024 * 1024
_MAX_ROWS = 20_000
# Rows that an answer names of those that it counts.
_MAX_NAMED = 50
_FEW = 20
_PAGE = 500
# Versions stored by one command, which has seconds.
_MAX_INSERTS = 100


def _map_problem(rows: dict[str, msgspec.Raw], _: datetime) -> str | None:
    return None if len(rows) <= _MAX_ROWS else f"has more than {_MAX_ROWS} rows"


class ImportBody(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, or what one provider serves, or one model. `multiplier` marks all of it up.

    `price_map` is a map in LiteLLM's format, in place of the bundled one. Of a dry run's changes,
    `limit` and `cursor` show a page.
    """

    price_map: Annotated[dict[str, msgspec.Raw], FieldRule(_map_problem)] | None = None
    provider: Provider | None = None
    model: Model | None = None
    multiplier: Multiplier = AT_COST
    effective_from: Time | None = None
    dry_run: bool = True
    limit: PageSize = DEFAULT_PAGE_SIZE
    cursor: ListCursor | UnsetType = UNSET


class ImportQuery(PageQuery, frozen=True, kw_only=True):
    sort: Literal["import_id", "-import_id"] = "-import_id"


class UnreadableRow(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    message: str


class UndatedRow(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    note: str


class UndatedRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose price holds for a time that the map does not date; `notes` are of the first."""

    models: int
    notes: tuple[UndatedRow, ...]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The price that is in force without the import."""

    price_id: str
    source: PriceSource


class RowChange(msgspec.Struct, frozen=True, kw_only=True):
    """`price_id` is the new version's, null where none is stored."""

    model: str
    provider: str
    change: ChangeKind
    price_id: str | None
    in_force: Held | None
    differences: dict[str, Change]


class ImportView(msgspec.Struct, frozen=True, kw_only=True):
    """`skipped` counts rows without a price of tokens, by reason."""

    dry_run: bool
    import_id: str | None
    models: int
    new: int
    changed: int
    same: int
    kept: int
    skipped: dict[str, int]
    unreadable: tuple[UnreadableRow, ...]
    undated: UndatedRows
    changes: tuple[RowChange, ...]
    next_cursor: str | None


async def import_costs(request: Request[State], body: ImportBody) -> Answer[ImportView]:
    """Idempotent: stores `new` and `changed` prices only, and nothing in a dry run."""
    state = request.state
    now = state["now"]()
    _check(body)
    price_map = state["price_map"]
    if body.price_map is not None:
        price_map = PriceMap(msgspec.json.encode(body.price_map))
    reading = await asyncio.to_thread(_read, price_map, body)
    rows = await _rows(state, reading.models, body, actor_id=actor_of(request).id, now=now)
    stored = [] if body.dry_run else [row.version for row in rows if row.is_stored]
    headers = await _insert(state, stored)
    if stored:
        await tell_import(state, stored[0], len(stored))
    counts = Counter(row.change for row in rows)
    changes, after = _page(rows, body)
    view = ImportView(
        dry_run=body.dry_run,
        import_id=stored[0].import_id if stored else None,
        models=len(rows),
        new=counts["new"],
        changed=counts["changed"],
        same=counts["same"],
        kept=counts["kept"],
        skipped=dict(reading.skipped),
        unreadable=tuple(
            UnreadableRow(path=path, message=message)
            for path, message in reading.unreadable[:_MAX_NAMED]
        ),
        undated=UndatedRows(
            models=len(reading.undated),
            notes=tuple(
                UndatedRow(model=model, note=note) for model, note in reading.undated[:_MAX_NAMED]
            ),
        ),
        changes=tuple(_change_view(row, body.dry_run) for row in changes),
        next_cursor=after,
    )
    return Answer(view, status=200 if body.dry_run else 201, headers=headers)


async def list_imports(request: Request[State], query: ImportQuery) -> Answer[Page[PriceImport]]:
    """The newest first, unless `sort` says otherwise."""
    reading = query.reading("import_id", query.sort)
    found = await request.state["prices"].imports(reading.slice)
    return Answer(reading.page(found, found.rows))


async def show_import(request: Request[State]) -> Answer[PriceImport]:
    state, import_id = request.state, request.path_params["import_id"]
    found = await state["prices"].find_import(import_id)
    if found is None:
        raise _unknown(import_id)
    return Answer(found, headers=etag_of(found))


async def undo_import(request: Request[State]) -> Answer[PriceImport]:
    """Its versions count no longer, not even for the time since: what was before comes back.

    Entries that they priced stay as they are until they are priced again.
    """
    state, import_id = request.state, request.path_params["import_id"]
    found = await state["prices"].find_import(import_id)
    if found is None:
        raise _unknown(import_id)
    check_match(request, found)
    await state["prices"].end_import(import_id, found.effective_from, actor_id=actor_of(request).id)
    headers: dict[str, str] = {}
    filters, after = PriceFilter(import_id=import_id), None
    while versions := await state["prices"].list(filters, after=after, limit=_PAGE):
        after = versions[-1].price_id
        names = [version.model for version in versions]
        headers |= await state["announcer"].announce("price", names, as_one=True)
    await tell_import(state, found, found.versions, undone=True)
    undone = await state["prices"].find_import(import_id)
    return Answer(found if undone is None else undone, headers=headers)


def _check(body: ImportBody) -> None:
    if body.provider == "*":
        raise ValidationFailed([FieldError("provider", "must be one provider; leave out for all")])
    if body.cursor is not UNSET and not body.dry_run:
        message = "is for the changes of a dry run; an import that is made is made as a whole"
        raise ValidationFailed([FieldError("cursor", message)])


def _read(price_map: PriceMap, body: ImportBody) -> CostMapReading:
    """Raises AppError where no model is left."""
    if body.model is None:
        reading = read_map(price_map, price_map.names(), body.provider)
    else:
        found = mapped(price_map, body.model)
        name = body.model if found is None else found.price.model
        reading = read_map(price_map, [name], body.provider)
    if reading.models:
        return reading
    if body.price_map is not None and reading.unreadable:
        raise ValidationFailed([FieldError(*row) for row in reading.unreadable[:_MAX_NAMED]])
    refused = None if body.model is None else price_map.read(body.model)
    if isinstance(refused, NotPriced):
        field = "" if refused.field is None else f"{refused.field} "
        message = f"'{body.model}' is not a price of tokens: {field}{refused.message}."
        raise NotFound(message, param="model")
    whose = "LiteLLM's price map" if body.price_map is None else "The price_map"
    raise NotFound(
        f"{whose} has no such model with a price.",
        param="provider" if body.model is None else "model",
    )


async def _rows(
    state: State, models: Sequence[MapModel], body: ImportBody, *, actor_id: str, now: datetime
) -> list[ImportRow]:
    terms = Terms(
        import_id=None if body.dry_run else f"import_{state['new_id']()}",
        effective_from=now if body.effective_from is None else to_utc_ms(body.effective_from),
        multiplier=plain_amount(body.multiplier),
        made_by=actor_id,
        created_at=now,
    )
    versions = await _versions(state, models)
    return await asyncio.to_thread(
        rows_of, models, versions, state["price_map"], terms, _price_ids(state)
    )


def _price_ids(state: State) -> Iterator[str]:
    while True:
        yield f"price_{state['new_id']()}"


async def _versions(state: State, models: Sequence[MapModel]) -> Sequence[PriceVersion]:
    """A superset of the versions that may price the models: reading all beats many names."""
    prices = state["prices"]
    if len(models) <= _FEW:
        names = {
            name for model in models for name in model_names(model.provider, routed_name(model))
        }
        return [*await prices.versions_of(names), *await prices.patterns()]
    return await prices.all()


async def _insert(state: State, versions: Sequence[PriceVersion]) -> dict[str, str]:
    """Announces each stored batch, even if MongoDB fails later. Imported prices have no alias."""
    headers: dict[str, str] = {}
    for start in range(0, len(versions), _MAX_INSERTS):
        batch = versions[start : start + _MAX_INSERTS]
        await state["prices"].insert_many(batch)
        names = [version.model for version in batch]
        headers |= await state["announcer"].announce("price", names, as_one=True)
    return headers


def _page(rows: Sequence[ImportRow], body: ImportBody) -> tuple[list[ImportRow], str | None]:
    """A page of the changes, with its next cursor; changes of prices in force come first."""
    changes = [row for row in rows if row.change != "same"]
    changes.sort(key=lambda row: (not row.differences, row.version.model))
    start = 0
    after = cursor_place("model", body.cursor)
    if after is not None:
        places = {row.version.model: place for place, row in enumerate(changes)}
        if after not in places:
            raise InvalidRequest("This cursor is of another import.", param="cursor")
        start = places[after] + 1
    page = changes[start : start + body.limit]
    more = body.dry_run and start + len(page) < len(changes)
    return page, cursor_of("model", page[-1].version.model) if more else None


def _change_view(row: ImportRow, dry_run: bool) -> RowChange:
    price = row.in_force
    return RowChange(
        model=row.version.model,
        provider=row.version.provider,
        change=row.change,
        price_id=row.version.price_id if row.is_stored and not dry_run else None,
        in_force=None if price is None else Held(price_id=price.price_id, source=price.source),
        differences=changes_of(row.differences),
    )


def _unknown(import_id: str) -> NotFound:
    return NotFound(f"There is no import '{import_id[:128]}'.", param="import_id")
