"""`/admin/alerts/receivers`: the receivers of alerts. A secret is shown once, when it is made."""

from base64 import b64encode
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from libs.common.errors import Conflict, FieldError, NotFound, ValidationFailed
from libs.common.outbox import delivery_of
from libs.common.schemas.alert import Alert, AlertKind, Receiver, ReceiverTest
from libs.common.storage.mongo.alert_receivers import MAX_RECEIVERS
from libs.common.web.destinations import MAX_URL_CHARS
from services.admin.accounts import changed_fields
from services.admin.alerts.deliveries import AlertView, alert_view
from services.admin.clock import to_utc_ms
from services.admin.creations import Creation, creation_of
from services.admin.endpoints import Answer
from services.admin.fields import DistinctUserIds, Name
from services.admin.pages import Page, PageQuery
from services.admin.revisions import changed, etag_of
from services.admin.state import State
from services.admin.validation import FieldRule

_MAX_ACCOUNTS = 256
_DAY_S = 86_400
_MAX_GRACE_S = 30 * _DAY_S


def _kinds(values: tuple[str, ...], _: datetime) -> str | None:
    return None if len(set(values)) == len(values) else "names a kind twice"


ReceiverUrl = Annotated[str, Meta(min_length=1, max_length=MAX_URL_CHARS)]
Kinds = Annotated[tuple[AlertKind, ...], FieldRule(_kinds)]
Accounts = Annotated[DistinctUserIds, Meta(max_length=_MAX_ACCOUNTS)]


class NewReceiver(msgspec.Struct, frozen=True, kw_only=True):
    """Without `kinds` it gets all kinds; without `user_ids` all accounts, and global alerts.

    `url` has to be https at a public address, unless ALERT_ALLOWED_HOSTS names its host.
    """

    url: ReceiverUrl
    name: Name = ""
    kinds: Kinds = ()
    user_ids: Accounts = ()
    enabled: bool = True


class ReceiverChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A merge patch: an absent field stays as it is."""

    url: ReceiverUrl | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    kinds: Kinds | UnsetType = UNSET
    user_ids: Accounts | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class SecretRotation(msgspec.Struct, frozen=True, kw_only=True):
    """The time for which messages are signed with the old secret as well."""

    grace_s: Annotated[int, Meta(ge=0, le=_MAX_GRACE_S)] = _DAY_S


class ReceiverView(msgspec.Struct, frozen=True, kw_only=True):
    """Until `old_secret_until`, messages are signed with the secret before as well."""

    receiver_id: str
    name: str
    url: str
    kinds: tuple[AlertKind, ...]
    user_ids: tuple[str, ...]
    enabled: bool
    old_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class NewReceiverView(ReceiverView, frozen=True, kw_only=True):
    """`secret` is shown only in this answer."""

    secret: str


async def create_receiver(request: Request[State], body: NewReceiver) -> Answer[NewReceiverView]:
    state = request.state
    now = state["now"]()
    await _check(state, body.url, body.user_ids)
    if await state["receivers"].count() >= MAX_RECEIVERS:
        raise Conflict(f"There are {MAX_RECEIVERS} receivers already: remove one first.")
    creation = creation_of(request)
    receiver = Receiver(
        receiver_id=f"rcv_{creation.new_id}",
        secret=_secret_of(creation),
        revision=state["new_id"](),
        created_at=now,
        updated_at=now,
        **msgspec.structs.asdict(body),
    )
    if not await state["receivers"].insert(receiver):
        # An earlier attempt of this request made it before its process died.
        receiver = await state["receivers"].get(receiver.receiver_id) or receiver
    return Answer(_with_secret(receiver, now), headers=etag_of(receiver))


async def list_receivers(request: Request[State], query: PageQuery) -> Answer[Page[ReceiverView]]:
    """In the order in which they were made."""
    state = request.state
    now = state["now"]()
    reading = query.reading("receiver_id")
    found = await state["receivers"].slice(reading.slice)
    return Answer(reading.page(found, [_view(receiver, now) for receiver in found.rows]))


async def show_receiver(request: Request[State]) -> Answer[ReceiverView]:
    receiver = await _find(request)
    return Answer(_view(receiver, request.state["now"]()), headers=etag_of(receiver))


async def change_receiver(request: Request[State], body: ReceiverChanges) -> Answer[ReceiverView]:
    state = request.state
    now = state["now"]()
    changes = changed_fields(body)

    async def change(before: Receiver) -> Receiver | None:
        after = msgspec.structs.replace(before, **changes)
        await _check(
            state, after.url, after.user_ids if "user_ids" in changes else (), before=before.url
        )
        fields = {**changes, "revision": state["new_id"]()}
        return await state["receivers"].update(
            before.receiver_id, fields, now, revision=before.revision
        )

    receiver = await changed(request, lambda: _find(request), change)
    return Answer(_view(receiver, now), headers=etag_of(receiver))


async def remove_receiver(request: Request[State]) -> Answer[None]:
    """Its pending deliveries fail."""
    receivers = request.state["receivers"]

    async def remove(before: Receiver) -> Receiver | None:
        removed = await receivers.delete(before.receiver_id, revision=before.revision)
        return before if removed else None

    await changed(request, lambda: _find(request), remove)
    return Answer(None)


async def rotate_secret(request: Request[State], body: SecretRotation) -> Answer[NewReceiverView]:
    """Whoever loses the answer rotates again; of the secrets before, the last one still signs."""
    state = request.state
    now = state["now"]()
    until = to_utc_ms(now + timedelta(seconds=body.grace_s))
    secret = _secret_of(creation_of(request))

    async def change(before: Receiver) -> Receiver | None:
        if before.secret == secret:
            # An earlier attempt of this request set it before its process died.
            return before
        fields = {
            "secret": secret,
            "old_secret": before.secret if body.grace_s else None,
            "old_secret_until": until if body.grace_s else None,
            "revision": state["new_id"](),
        }
        return await state["receivers"].update(
            before.receiver_id, fields, now, revision=before.revision
        )

    receiver = await changed(request, lambda: _find(request), change)
    return Answer(_with_secret(receiver, now), headers=etag_of(receiver))


async def test_receiver(request: Request[State]) -> Answer[AlertView]:
    """202: the worker sends it within about a second, whatever the receiver's filters."""
    state = request.state
    receiver = await _find(request)
    if not receiver.enabled:
        raise Conflict("The receiver is disabled, so nothing is sent to it.", param="receiver_id")
    alert = Alert(
        kind="receiver.test",
        name=creation_of(request).new_id,
        user_id=None,
        at=state["now"](),
        data=ReceiverTest(receiver_id=receiver.receiver_id),
    )
    delivery = delivery_of(alert, receiver.receiver_id)
    await state["alerts"].add([delivery])
    return Answer(alert_view(delivery))


async def _check(
    state: State, url: str, user_ids: tuple[str, ...], *, before: str | None = None
) -> None:
    """Raises ValidationFailed. A URL that was accepted before is not checked again."""
    problems: list[FieldError] = []
    problem = None if url == before else state["destinations"].problem(url)
    if problem is not None:
        problems.append(FieldError("url", problem))
    known = {account.user_id for account in await state["accounts"].get_many(user_ids)}
    problems += [
        FieldError("user_ids", f"there is no account '{user_id}'")
        for user_id in user_ids
        if user_id not in known
    ]
    if problems:
        raise ValidationFailed(problems)


def _secret_of(creation: Creation) -> str:
    """In the notation of Standard Webhooks."""
    return "whsec_" + b64encode(creation.entropy).decode()


async def _find(request: Request[State]) -> Receiver:
    receiver = await request.state["receivers"].get(request.path_params["receiver_id"])
    if receiver is None:
        raise NotFound("There is no receiver with this id.", param="receiver_id")
    return receiver


def _view(receiver: Receiver, now: datetime) -> ReceiverView:
    until = receiver.old_secret_until
    fields = {name: getattr(receiver, name) for name in ReceiverView.__struct_fields__}
    fields["old_secret_until"] = until if until is not None and now < until else None
    return ReceiverView(**fields)


def _with_secret(receiver: Receiver, now: datetime) -> NewReceiverView:
    fields = msgspec.structs.asdict(_view(receiver, now))
    return NewReceiverView(**fields, secret=receiver.secret)
