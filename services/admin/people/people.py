"""`/admin/people`: admin keys with names and roles. A secret is shown once; its hash is stored."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from libs.common.domain.ids import ADMIN_SECRET_PREFIX, new_secret, secret_hash, secret_prefix
from libs.common.errors import Conflict, FieldError, Forbidden, NotFound, ValidationFailed
from libs.common.schemas.person import Person, PersonStatus, Role
from services.admin.accounts import changed_fields
from services.admin.clock import to_utc_ms
from services.admin.creations import creation_of
from services.admin.endpoints import Answer
from services.admin.fields import DistinctUserIds, FutureTime, Name, SearchText
from services.admin.pages import Page, PageQuery, found_in
from services.admin.people.actor import Actor, actor_of, check_role
from services.admin.revisions import changed, etag_of
from services.admin.state import State

_MAX_ACCOUNTS = 100

PersonName = Annotated[Name, Meta(min_length=1)]
Accounts = Annotated[DistinctUserIds, Meta(min_length=1, max_length=_MAX_ACCOUNTS)]


class NewPerson(msgspec.Struct, frozen=True, kw_only=True):
    """`accounts` are those that they may see and change; null means all, and what is global."""

    name: PersonName
    role: Role
    accounts: Accounts | None = None
    expires_at: FutureTime | None = None


class PersonChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A merge patch: an absent field stays as it is; null removes a restriction."""

    name: PersonName | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    accounts: Accounts | UnsetType | None = UNSET
    expires_at: FutureTime | UnsetType | None = UNSET
    status: PersonStatus | UnsetType = UNSET


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    person_id: str
    name: str
    role: Role
    accounts: tuple[str, ...] | None
    prefix: str
    expires_at: datetime | None
    status: PersonStatus | Literal["expired"]
    created_by: str
    updated_by: str
    created_at: datetime
    updated_at: datetime


class NewPersonView(PersonView, frozen=True, kw_only=True):
    """`admin_key` is the secret, shown only in this response."""

    admin_key: str


class PersonQuery(PageQuery, frozen=True, kw_only=True):
    """`q` is part of the name or the id."""

    q: SearchText | UnsetType = UNSET
    sort: Literal["person_id", "-person_id"] = "person_id"

    def wants(self, person: Person) -> bool:
        return found_in(self.q, person.person_id, person.name)


async def create_person(request: Request[State], body: NewPerson) -> Answer[NewPersonView]:
    state, actor = request.state, actor_of(request)
    now = state["now"]()
    check_role(actor, body.role)
    creation = creation_of(request)
    secret = new_secret(creation.entropy, ADMIN_SECRET_PREFIX)
    person = Person(
        person_id=f"person_{creation.new_id}",
        name=body.name,
        role=body.role,
        accounts=body.accounts,
        prefix=secret_prefix(secret, ADMIN_SECRET_PREFIX),
        secret_hash=secret_hash(secret),
        expires_at=None if body.expires_at is None else to_utc_ms(body.expires_at),
        revision=state["new_id"](),
        created_by=actor.id,
        updated_by=actor.id,
        created_at=now,
        updated_at=now,
    )
    await _check_scope(state, person.role, person.accounts)
    if not await state["people"].insert(person):
        # An earlier attempt of this request made the person before its process died.
        person = await state["people"].get(person.person_id) or person
        if person.secret_hash != secret_hash(secret):
            message = (
                f"This request made '{person.person_id}' before, and the key cannot be shown: "
                "ADMIN_API_KEY is another one since then. Revoke it, and make another."
            )
            raise Conflict(message)
    view = NewPersonView(**msgspec.structs.asdict(_view(person, now)), admin_key=secret)
    return Answer(view, headers=etag_of(person))


async def list_people(request: Request[State], query: PersonQuery) -> Answer[Page[PersonView]]:
    """In the order in which they were added."""
    state = request.state
    now = state["now"]()
    reading = query.reading("person_id", query.sort)
    found = await state["people"].slice(reading.slice, keep=query.wants)
    return Answer(reading.page(found, [_view(person, now) for person in found.rows]))


async def show_me(request: Request[State]) -> Answer[Actor]:
    return Answer(actor_of(request))


async def show_person(request: Request[State]) -> Answer[PersonView]:
    person = await _find(request)
    return Answer(_view(person, request.state["now"]()), headers=etag_of(person))


async def change_person(request: Request[State], body: PersonChanges) -> Answer[PersonView]:
    changes = changed_fields(body)
    if changes.get("expires_at") is not None:
        changes["expires_at"] = to_utc_ms(changes["expires_at"])
    return await _update(request, changes)


async def revoke_person(request: Request[State]) -> Answer[PersonView]:
    """The row stays, because the audit log names it."""
    return await _update(request, {"status": "revoked"})


async def _update(request: Request[State], changes: Mapping[str, Any]) -> Answer[PersonView]:
    state, actor = request.state, actor_of(request)
    now = state["now"]()

    async def change(before: Person) -> Person | None:
        _check_change(actor, before, changes)
        after = msgspec.structs.replace(before, **changes)
        await _check_scope(state, after.role, after.accounts)
        fields = {**changes, "updated_by": actor.id, "revision": state["new_id"]()}
        return await state["people"].update(before.person_id, fields, now, revision=before.revision)

    person = await changed(request, lambda: _find(request), change)
    return Answer(_view(person, now), headers=etag_of(person))


def _check_change(actor: Actor, before: Person, changes: Mapping[str, Any]) -> None:
    """Raises AppError."""
    check_role(actor, before.role)
    check_role(actor, changes.get("role", before.role))
    if actor.id == before.person_id and changes.keys() - {"name"}:
        raise Forbidden("You cannot change your own access: ask another owner, or the root.")
    if before.status == "revoked" and changes.get("status") == "active":
        message = "A revoked key stays revoked: create another one with POST /admin/people."
        raise Conflict(message, param="status")


async def _check_scope(state: State, role: Role, accounts: tuple[str, ...] | None) -> None:
    """Raises ValidationFailed."""
    if accounts is None:
        return
    if role == "owner":
        # An owner could give himself the accounts that he lacks.
        raise ValidationFailed([FieldError("accounts", "must be null for an owner")])
    for user_id in accounts:
        if await state["accounts"].get(user_id) is None:
            raise ValidationFailed([FieldError("accounts", f"there is no account '{user_id}'")])


async def _find(request: Request[State]) -> Person:
    person = await request.state["people"].get(request.path_params["person_id"])
    if person is None:
        raise NotFound("There is no person with this id.", param="person_id")
    return person


def _view(person: Person, now: datetime) -> PersonView:
    expired = person.expires_at is not None and person.expires_at <= now
    return PersonView(
        person_id=person.person_id,
        name=person.name,
        role=person.role,
        accounts=person.accounts,
        prefix=person.prefix,
        expires_at=person.expires_at,
        status="expired" if expired and person.status == "active" else person.status,
        created_by=person.created_by,
        updated_by=person.updated_by,
        created_at=person.created_at,
        updated_at=person.updated_at,
    )
