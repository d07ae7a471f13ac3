"""Routes by form: a route's deployments, each with its place, and what is done when they fail."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from libs.common.errors import AppError, Conflict, NotFound, ValidationFailed
from libs.common.schemas.route import AnswerModel, TranslationWay
from libs.common.schemas.usage import ClientFormat
from services.admin import models
from services.admin.console.edits import edit_form, save
from services.admin.console.elements import panel
from services.admin.console.form_fields import FieldGroup, FormField, Typed, form_body, typed_of
from services.admin.console.forms import error_status, form_of
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)
from services.admin.model_bodies import DeploymentView, RouteView

_NAME = FormField(
    path="model", label="Name that clients send", required=True,
    help="Such as house-model, or team/fast; it cannot be changed later.",
)  # fmt: skip
_ROUTE = (
    FormField(
        path="fallbacks", label="Fall back to these models", kind="list", empty=(),
        help="One a line: routes, or provider/model. Tried in this order once no deployment is "
        "left.",
    ),
    FormField(
        path="context_fallbacks", label="When the prompt is too long, to these", kind="list",
        empty=(), help="One a line.",
    ),
    FormField(
        path="max_attempts", label="Tries at most", kind="number", required=True,
        help="Of one call, fallbacks included.",
    ),
    FormField(
        path="cooldown_after", label="Let a deployment rest after this many failures in a row",
        kind="number", required=True,
    ),
    FormField(path="cooldown_s", label="For how long, seconds", kind="number", required=True),
    FormField(
        path="answer_model", label="Model that answers name", kind="choice", required=True,
        choices=get_args(AnswerModel), help="asked: the route's; served: the provider's.",
    ),
    FormField(
        path="provider_objects", label="Providers' objects that every account may use",
        kind="list", empty=(), help="One id a line, such as that of a shared vector store.",
    ),
)  # fmt: skip
_DEPLOYMENT = (
    FormField(
        path="model", label="Model", help="As provider/model, such as openai/gpt-4.1-mini.",
    ),
    FormField(path="priority", label="Priority", kind="number", help="The lowest is tried first."),
    FormField(
        path="weight", label="Weight", kind="number",
        help="Of calls among deployments of one priority: 3 gets three times as many as 1.",
    ),
)  # fmt: skip
_RARE = (
    FormField(path="api_base", label="Base URL", help="Empty: the provider's own."),
    FormField(
        path="credential", label="Credential",
        help="env:NAME or file:NAME, where the gateway finds it. Empty: the provider's usual one.",
    ),
    FormField(
        path="formats", label="Formats that the base URL speaks", kind="many",
        choices=get_args(ClientFormat),
    ),
    FormField(path="max_parallel", label="Calls at a time, at most", kind="number"),
    FormField(path="timeouts.connect", label="Time to connect, seconds", kind="decimal"),
    FormField(path="timeouts.first_byte", label="Time to the first byte, seconds", kind="decimal"),
    FormField(path="timeouts.between_bytes", label="Time between bytes, seconds", kind="decimal"),
    FormField(path="timeouts.total", label="Time in all, seconds", kind="decimal"),
    FormField(path="multiplier", label="Price multiplier", kind="amount"),
    FormField(path="priced_as", label="Priced as this model"),
    FormField(path="region", label="Region", help="For prices that depend on it."),
    FormField(
        path="translation", label="Translated by", kind="choice", required=True,
        choices=get_args(TranslationWay),
    ),
    FormField(
        path="drop_params", label="Leave out parameters that the model does not take",
        kind="flag", help="Else a call with one is refused.",
    ),
    FormField(
        path="profile", label="What the model can do, as JSON", kind="json",
        help='Only what differs from what is known of it, such as {"sees": true}.',
    ),
)  # fmt: skip
_REMOVE = FormField(path="remove", label="Remove it when saving", kind="flag")
_MEMBER = re.compile(r"deployments\[(\d{1,3})\]\.(.+)", re.ASCII)
_ID, _MORE = "deployment_id", "more"
_NEW_ROW: Mapping[str, str] = {"priority": "0", "weight": "1", "translation": "native"}
_NEW_ROUTE = {
    "max_attempts": "3", "cooldown_after": "3", "cooldown_s": "30", "answer_model": "asked",
}  # fmt: skip

TypedRow = Mapping[str, str]


async def new_page(view: View, error: AppError | None = None) -> Shown:
    rows = _rows(view.typed) or [_NEW_ROW]
    typed = {**(view.typed or _NEW_ROUTE), **_flat(rows)}
    form = form_of(
        "/console/new/route", view.session.csrf, (_NAME, *_groups(rows), *_ROUTE),
        submit="Make the route", typed=typed, error=error,
        hidden=view.once(error) | _ids(rows), also={_MORE: "Add a deployment"},
    )  # fmt: skip
    return ConsolePage(name="New route", content=panel("Route", form), status=error_status(error))


async def create(view: View) -> Shown:
    if _MORE in view.typed:
        return await new_page(_with_one_more(view))
    _drop_removed(view)
    body = form_body((_NAME, *_ROUTE), view.typed) | _deployments(view.typed)
    try:
        route = await view.api.call(models.create_model, body=body, headers=view.once_headers())
    except (ValidationFailed, Conflict, NotFound) as error:
        return await new_page(view, error)
    return go_to(f"/console/models/{segment(route.model)}")


async def edit_page(view: View, error: AppError | None = None, *, raced: bool = False) -> Shown:
    answer = await view.api.answer(models.show_model, name=view.request.path_params["name"])
    stored = _typed(answer.content)
    rows = _rows(view.typed or stored)
    form = edit_form(
        view, (*_groups(rows), *_ROUTE), answer, stored, error=error, raced=raced,
        hidden=_ids(rows), also={_MORE: "Add a deployment"},
    )  # fmt: skip
    return ConsolePage(
        name=f"Change {answer.content.model}",
        content=panel("Route", form),
        status=error_status(error),
    )


async def change(view: View) -> Shown:
    if _MORE in view.typed:
        return await edit_page(_with_one_more(view))
    _drop_removed(view)
    body = form_body(_ROUTE, view.typed) | _deployments(view.typed)
    name = view.request.path_params["name"]
    return await save(
        view, models.change_model, body, noun="route", again=edit_page,
        then=f"/console/models/{segment(name)}", name=name,
    )  # fmt: skip


def _rows(typed: Typed) -> list[TypedRow]:
    """What was typed of each deployment, in their order, however they are numbered."""
    found: dict[int, dict[str, str]] = {}
    for name, text in typed.items():
        member = _MEMBER.fullmatch(name)
        if member is not None:
            found.setdefault(int(member[1]), {})[member[2]] = text
    return [found[number] for number in sorted(found)]


def _flat(rows: Sequence[TypedRow]) -> dict[str, str]:
    """Numbered from 0 on, as errors of the API number them."""
    return {
        f"deployments[{number}].{name}": text
        for number, row in enumerate(rows)
        for name, text in row.items()
    }


def _with_rows(view: View, rows: Sequence[TypedRow]) -> View:
    others = {name: text for name, text in view.typed.items() if not _MEMBER.fullmatch(name)}
    view.typed = others | _flat(rows)
    return view


def _with_one_more(view: View) -> View:
    rows = _rows(view.typed)
    priority = max((int(row["priority"]) for row in rows if _is_small(row)), default=-1) + 1
    return _with_rows(view, [*rows, {**_NEW_ROW, "priority": str(priority)}])


def _is_small(row: TypedRow) -> bool:
    return re.fullmatch(r"\d{1,3}", row.get("priority", ""), re.ASCII) is not None


def _drop_removed(view: View) -> None:
    """Also a new row that nothing was typed into."""
    rows = _rows(view.typed)
    _with_rows(view, [row for row in rows if not row.get(_REMOVE.path) and not _is_untouched(row)])


def _is_untouched(row: TypedRow) -> bool:
    own = {name: text for name, text in row.items() if text.strip() and name != "priority"}
    return own == {name: text for name, text in _NEW_ROW.items() if name != "priority"}


def _deployments(typed: Typed) -> dict[str, Any]:
    rows = _rows(typed)
    bodies = [form_body((*_DEPLOYMENT, *_RARE), row) for row in rows]
    for row, body in zip(rows, bodies, strict=True):
        if row.get(_ID):
            body[_ID] = row[_ID]
    return {"deployments": bodies}


def _ids(rows: Sequence[TypedRow]) -> dict[str, str]:
    return _flat([{_ID: row[_ID]} if row.get(_ID) else {} for row in rows])


def _groups(rows: Sequence[TypedRow]) -> list[FieldGroup]:
    def numbered(fields: Sequence[FormField], number: int) -> tuple[FormField, ...]:
        at = f"deployments[{number}]."
        return tuple(msgspec.structs.replace(each, path=at + each.path) for each in fields)

    return [
        FieldGroup(
            name=f"Deployment {number + 1}",
            fields=numbered((*_DEPLOYMENT, _REMOVE), number),
            rare=numbered(_RARE, number),
        )
        for number in range(len(rows))
    ]


def _typed(route: RouteView) -> dict[str, str]:
    return typed_of(
        {
            "fallbacks": route.fallbacks,
            "context_fallbacks": route.context_fallbacks,
            "max_attempts": route.max_attempts,
            "cooldown_after": route.cooldown_after,
            "cooldown_s": route.cooldown_s,
            "answer_model": route.answer_model,
            "provider_objects": route.provider_objects,
        }
    ) | _flat([_typed_row(each) for each in route.deployments])


def _typed_row(each: DeploymentView) -> dict[str, str]:
    times = msgspec.structs.asdict(each.timeouts)
    profile = None if each.profile is None else msgspec.json.encode(each.profile).decode()
    return typed_of(
        {
            _ID: each.deployment_id,
            "model": each.model,
            "priority": each.priority,
            "weight": each.weight,
            "api_base": each.api_base,
            "credential": each.credential,
            "formats": each.formats,
            "max_parallel": each.max_parallel,
            **{f"timeouts.{name}": value for name, value in times.items()},
            "multiplier": each.multiplier,
            "priced_as": each.priced_as,
            "region": each.region,
            "translation": each.translation,
            "drop_params": each.drop_params,
            "profile": profile,
        }
    )


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/new/route": form_for(models.create_model, new_page, create),
    "/console/edit/route/{name:path}": form_for(models.change_model, edit_page, change),
}
