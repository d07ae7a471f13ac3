"""`/admin/ledger/corrections`: refunds, credits and adjustments, ordered from the ledger worker."""

import asyncio
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request

from libs.common.domain.corrections import net_nusd
from libs.common.domain.money import MAX_NUSD, nusd_to_usd, usd_to_nusd
from libs.common.errors import (
    AppError,
    Conflict,
    FieldError,
    NotFound,
    Unavailable,
    ValidationFailed,
)
from libs.common.schemas.correction import CorrectionOrder, OrderedKind
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.redis.client import RedisError
from services.admin.accounts import find_account
from services.admin.endpoints import Answer
from services.admin.entry_views import EntryView, entry_view
from services.admin.fields import Id, Reason, UserId
from services.admin.people.actor import Actor, actor_of
from services.admin.state import State
from services.admin.validation import FieldRule

_FIRST_LOOK_S = 0.02
_SLOWEST_LOOK_S = 0.5


def _amount(value: Decimal, _: datetime) -> str | None:
    if not value.is_finite():
        return "must be a finite number"
    if not 0 < value.copy_abs() <= nusd_to_usd(MAX_NUSD):
        return f"must not be 0, and at most {nusd_to_usd(MAX_NUSD)} either way"
    try:
        usd_to_nusd(value)
    except ValueError as error:
        return str(error)
    return None


class NewCorrection(msgspec.Struct, frozen=True, kw_only=True):
    """`amount_usd` is added to what was spent, so refunds and credits are negative.

    A repeated `idempotency_key` is the same correction. A correction of an entry counts in the
    budget periods of the entry, any other in the current ones.
    """

    user_id: UserId
    kind: OrderedKind
    amount_usd: Annotated[Decimal, FieldRule(_amount)]
    reason: Reason
    idempotency_key: Id
    entry_id: Id | None = None


class QueuedView(msgspec.Struct, frozen=True, kw_only=True):
    """The entry that the worker is going to post."""

    entry_id: str
    status: Literal["queued"] = "queued"


async def create_correction(
    request: Request[State], body: NewCorrection
) -> Answer[EntryView | QueuedView]:
    """201 with the entry, or 202 if the worker has not posted it yet."""
    state = request.state
    now = state["now"]()
    new_order = CorrectionOrder(
        entry_id=state["new_id"](),
        user_id=body.user_id,
        kind=body.kind,
        cost_nusd=usd_to_nusd(body.amount_usd),
        corrects=body.entry_id,
        reason=body.reason,
        made_by=actor_of(request).id,
        at=now,
    )
    order = await state["correction_orders"].get(body.idempotency_key)
    if order is None:
        await _check(state, new_order, actor_of(request))
        order = await state["correction_orders"].keep(body.idempotency_key, new_order)
    first = {"entry_id": order.entry_id, "at": order.at, "made_by": order.made_by}
    if order != msgspec.structs.replace(new_order, **first):
        message = "This idempotency_key belongs to another correction."
        raise Conflict(message, param="idempotency_key")
    entry = await _posted_entry(state, order)
    if entry is None:
        return Answer(QueuedView(entry_id=order.entry_id), status=202)
    return Answer(entry_view(entry), status=201)


async def _posted_entry(state: State, order: CorrectionOrder) -> LedgerEntry | None:
    """Orders the entry unless it exists. Returns None if the worker does not post it in time."""
    entry = await state["entries"].get(order.entry_id)
    if entry is not None:
        return entry
    try:
        await state["correction_queue"].correct(order)
    except (RedisError, OSError) as error:
        message = "Redis does not answer. Repeat the request with the same idempotency_key."
        raise Unavailable(message, retry_after_s=2) from error
    delay_s = _FIRST_LOOK_S
    try:
        async with asyncio.timeout(state["correction_wait_s"]):
            while entry is None:
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _SLOWEST_LOOK_S)
                entry = await state["entries"].get(order.entry_id)
    except TimeoutError:
        return None
    return entry


async def _check(state: State, order: CorrectionOrder, actor: Actor) -> None:
    """Validates a new order against the ledger. Raises AppError."""
    await find_account(state, order.user_id)
    if order.kind != "adjustment" and order.cost_nusd > 0:
        raise _wrong("amount_usd", f"must be negative: a {order.kind} lowers what was spent")
    if order.corrects is None:
        if order.kind == "refund":
            raise _wrong("entry_id", "is required: without an entry it is a credit")
        return
    original = await state["entries"].get(order.corrects)
    if original is None or not actor.reaches(original.user_id):
        raise NotFound(f"There is no entry '{order.corrects[:128]}'.", param="entry_id")
    if original.user_id != order.user_id:
        raise _wrong("entry_id", "belongs to another account")
    if original.kind not in ("call", "late_event"):
        raise _wrong("entry_id", "is a correction itself: name the call that it corrects")
    if order.kind == "refund":
        if original.kind == "late_event":
            # The call's own refunds would not count, and both together could exceed its cost.
            raise _wrong(
                "entry_id", f"is part of the cost of call '{original.corrects}': name that call"
            )
        corrections = await state["entries"].corrections_of([original])
        left_nusd = net_nusd(original, corrections)
        if left_nusd + order.cost_nusd < 0:
            left = f"{nusd_to_usd(left_nusd):f} USD"
            raise _wrong("amount_usd", f"refunds more than the {left} that the call still costs")


def _wrong(field: str, message: str) -> AppError:
    return ValidationFailed([FieldError(field, message)])
