"""People: who may call the API and open the console, and how far."""

from collections.abc import Mapping
from typing import get_args

from htpy import a, button, code, details, p, summary

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.person import Role
from services.admin.console.elements import Column, mono, panel, rows_table, status_badge, when
from services.admin.console.form_fields import Field, body_of
from services.admin.console.forms import confirm_form, form_of, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for, go_to, segment
from services.admin.people import people

_NEW = (
    Field(path="name", label="Name", required=True),
    Field(
        path="role", label="Role", kind="choice", choices=get_args(Role), required=True,
        help="A viewer reads; an operator changes accounts, keys and models; billing changes "
        "prices and corrects; an owner does all that, and decides who may.",
    ),
    Field(
        path="accounts", label="Only these accounts", kind="list",
        help="One a line; empty means all of them, and what is global.",
    ),
    Field(path="expires_at", label="Expires", kind="time", help="Empty: never."),
)  # fmt: skip
_COLUMNS = (
    Column("Name"), Column("Role"), Column("Accounts"), Column("Key"), Column("Status"),
    Column("Expires"), Column("Made by"), Column("Do"),
)  # fmt: skip


async def list_page(view: View) -> Shown:
    listed = await view.api.call(people.list_people, query=view.query)
    rows = [
        [
            each.name,
            each.role,
            "all" if each.accounts is None else ", ".join(each.accounts),
            mono(f"{each.prefix}..."),
            status_badge(each.status),
            when(each.expires_at, view.zone) if each.expires_at else "never",
            each.created_by,
            each.status == "active"
            and details[
                summary["Revoke"],
                confirm_form(
                    f"/console/people/{segment(each.person_id)}/revoke", view.session.csrf,
                    submit=f"Revoke {each.name}'s key",
                    asks="It ends at once, with the sessions that were begun with it.",
                ),
            ],
        ]
        for each in listed.data
    ]  # fmt: skip
    empty = p["Nobody yet: whoever holds ADMIN_API_KEY is the root."]
    new = a(".button.primary", href="/console/new/person")["New person"]
    return Page(
        name="People",
        content=panel(
            "Admin keys", rows_table("People", _COLUMNS, rows, empty=empty), view.pager(listed),
            actions=view.api.may(people.create_person) and new,
        ),
    )  # fmt: skip


async def new_page(view: View, error: AppError | None = None) -> Shown:
    made = form_of(
        "/console/new/person", view.session.csrf, _NEW, submit="Make an admin key",
        typed=view.typed, error=error, hidden=view.once(error),
    )  # fmt: skip
    return Page(name="New person", content=panel("Admin key", made), status=status_of(error))


async def create(view: View) -> Shown:
    try:
        made = await view.api.call(
            people.create_person, body=body_of(_NEW, view.typed), headers=view.once_headers()
        )
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return Page(
        name=made.name,
        notice="The key is made. It is shown now and never again: hand it over safely.",
        content=panel(
            "Admin key",
            code("#secret.secret")[made.admin_key],
            p[button(type="button", data_copy="secret")["Copy the key"]],
        ),
    )


async def revoke(view: View) -> Shown:
    await view.api.call(people.revoke_person, person_id=view.request.path_params["person_id"])
    return go_to("/console/people")


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/people": {"GET": list_page},
    "/console/new/person": form_for(people.create_person, new_page, create),
    "/console/people/{person_id}/revoke": {"POST": revoke},
}
