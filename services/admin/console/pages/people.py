"""People: who may call the API and open the console, with their roles."""

from collections.abc import Mapping
from typing import get_args

from htpy import Node, a, details, p, summary

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.person import Role
from services.admin.console.edits import edit_form, save
from services.admin.console.elements import (
    Column,
    link,
    mono,
    panel,
    rows_table,
    secret_text,
    status_badge,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.form_fields import FormField, form_body, typed_of
from services.admin.console.forms import confirm_form, error_status, form_of
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)
from services.admin.people import people
from services.admin.people.people import PersonView

_FIELDS = (
    FormField(path="name", label="Name", required=True),
    FormField(
        path="role", label="Role", kind="choice", choices=get_args(Role), required=True,
        help="A viewer reads; an operator changes accounts, keys and models; billing changes "
        "prices and corrects; an owner does all that, and decides who may.",
    ),
    FormField(
        path="accounts", label="Only these accounts", kind="list", empty=None,
        help="One a line; empty means all of them, and what is global.",
    ),
    FormField(path="expires_at", label="Expires", kind="time", empty=None, help="Empty: never."),
)  # fmt: skip
_COLUMNS = (
    Column("Name"), Column("Role"), Column("Accounts"), Column("Key"), Column("Status"),
    Column("Expires"), Column("Made by"), Column("Do"),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    page = await view.api.call(people.list_people, query=view.query)
    rows = [
        [
            each.name,
            each.role,
            "all" if each.accounts is None else ", ".join(each.accounts),
            mono(f"{each.prefix}..."),
            status_badge(each.status),
            when(each.expires_at, view.zone) if each.expires_at else "never",
            each.created_by,
            each.status != "revoked" and _actions(view, each),
        ]
        for each in page.data
    ]  # fmt: skip
    advice = "Nobody yet: whoever holds ADMIN_API_KEY is the root."
    empty = p["Nobody matches." if view.query.get("q") else advice]
    new = a(".button.primary", href="/console/new/person")["New person"]
    return ConsolePage(
        name="People",
        content=panel(
            "Admin keys",
            filters(view, {"q": "Search"}),
            rows_table("People", _COLUMNS, rows, empty=empty),
            view.pager(page),
            actions=view.api.may(people.create_person) and new,
        ),
    )  # fmt: skip


def _actions(view: View, each: PersonView) -> Node:
    revoke = confirm_form(
        f"/console/people/{segment(each.person_id)}/revoke", view.session.csrf,
        submit=f"Revoke {each.name}'s key",
        asks="It ends at once and for ever, with the sessions that were begun with it.",
    )  # fmt: skip
    edit = link(f"/console/edit/person/{segment(each.person_id)}", "Change")
    return [edit, details[summary["Revoke"], revoke]]


async def new_page(view: View, error: AppError | None = None) -> Shown:
    form = form_of(
        "/console/new/person", view.session.csrf, _FIELDS, submit="Make an admin key",
        typed=view.typed, error=error, hidden=view.once(error),
    )  # fmt: skip
    return ConsolePage(
        name="New person", content=panel("Admin key", form), status=error_status(error)
    )


async def create(view: View) -> Shown:
    try:
        person = await view.api.call(
            people.create_person, body=form_body(_FIELDS, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return ConsolePage(
        name=person.name,
        notice="The key is made. It is shown now and never again: hand it over safely.",
        content=panel("Admin key", secret_text(person.admin_key, "key")),
    )


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    person_id = view.request.path_params["person_id"]
    answer = await view.api.answer(people.show_person, person_id=person_id)
    form = edit_form(view, _FIELDS, answer, _typed(answer.content), error=error, raced=raced)
    return ConsolePage(
        name=f"Change {answer.content.name}",
        content=panel("Admin key", form),
        status=error_status(error),
    )


async def change(view: View) -> Shown:
    person_id = view.request.path_params["person_id"]
    person = await view.api.call(people.show_person, person_id=person_id)
    stored = _typed(person)
    # Unchanged fields are omitted: the time of an expired key lies in the past.
    changed = [each for each in _FIELDS if view.typed.get(each.path, "") != stored[each.path]]
    return await save(
        view, people.change_person, form_body(changed, view.typed), noun="person", again=edit_page,
        then="/console/people", person_id=person_id,
    )  # fmt: skip


def _typed(person: PersonView) -> dict[str, str]:
    return typed_of(
        {
            "name": person.name,
            "role": person.role,
            "accounts": person.accounts,
            "expires_at": person.expires_at,
        }
    )


async def revoke(view: View) -> Shown:
    await view.api.call(people.revoke_person, person_id=view.request.path_params["person_id"])
    return go_to("/console/people")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/people": {"GET": list_page},
    "/console/new/person": form_for(people.create_person, new_page, create),
    "/console/edit/person/{person_id}": form_for(people.change_person, edit_page, change),
    "/console/people/{person_id}/revoke": {"POST": revoke},
}
