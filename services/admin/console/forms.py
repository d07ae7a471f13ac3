"""Forms: their fields, what was typed into them, and the JSON body that they mean."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from htpy import (
    Element,
    Node,
    Renderable,
    button,
    div,
    fieldset,
    form,
    label,
    legend,
    li,
    option,
    p,
    select,
    small,
    span,
    textarea,
    ul,
)
from htpy import (
    input as field_input,
)

from libs.common.errors import AppError
from services.admin.console.elements import NOTHING

# Whole numbers, with commas between thousands only: `1,5` is none.
_NUMBER = re.compile(r"\d{1,15}|\d{1,3}(,\d{3}){1,4}", re.ASCII)

Kind = Literal["text", "number", "amount", "time", "choice", "list", "long", "flag"]
Typed = Mapping[str, str]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the body's member that it means, as errors name it: `limits.requests_per_minute`.

    A `list` is one item a line; a `choice` without a value among `choices` is left out.
    """

    path: str
    label: str
    kind: Kind = "text"
    help: str = ""
    choices: Sequence[str] = ()
    required: bool = False
    # What an empty field means: nothing is said, or null, which removes what was there.
    empty: Literal["absent", "null"] = "absent"


def body_of(fields: Sequence[Field], typed: Typed) -> dict[str, Any]:
    """The JSON body, nested by the paths. What is no number stays text, which the API refuses."""
    body: dict[str, Any] = {}
    for field in fields:
        text = typed.get(field.path, "").strip()
        if not text and field.empty == "absent" and field.kind != "flag":
            continue
        *parents, last = field.path.split(".")
        inner = body
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = _value(field, text)
    return body


def _value(field: Field, text: str) -> Any:
    if field.kind == "flag":
        return bool(text)
    if not text:
        return None
    match field.kind:
        case "number":
            return int(text.replace(",", "")) if _NUMBER.fullmatch(text) else text
        case "list":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case _:
            return text


def problems_of(error: AppError | None) -> dict[str, str]:
    """What is wrong, by the member's path."""
    wrong = () if error is None else error.wrong_fields
    return {each.field: each.message for each in wrong}


def status_of(error: AppError | None) -> int:
    return HTTPStatus.OK if error is None else error.status


def form_of(
    action: str,
    csrf: str,
    fields: Sequence[Field],
    *,
    submit: str,
    typed: Typed | None = None,
    error: AppError | None = None,
    hidden: Typed | None = None,
    now: Typed | None = None,
) -> Renderable:
    """`now` has what others changed meanwhile: it is shown beside each field that differs."""
    typed, now = typed or {}, now or {}
    problems = problems_of(error)
    elsewhere = {name: text for name, text in problems.items() if not _owner(name, fields)}
    return form(method="post", action=action, class_="fields")[
        hidden_fields({"csrf": csrf, **(hidden or {})}),
        None if error is None else _summary(error, elsewhere),
        (_row(field, typed.get(field.path, ""), problems, now.get(field.path)) for field in fields),
        div(".buttons")[button(type="submit", class_="primary")[submit]],
    ]


def hidden_fields(values: Typed) -> Node:
    return [field_input(type="hidden", name=name, value=text) for name, text in values.items()]


def _owner(name: str, fields: Sequence[Field]) -> Field | None:
    """The field that a problem's path is in: `budgets[0].limit_usd` is in `budgets`."""
    for field in fields:
        rest = name.removeprefix(field.path)
        if name.startswith(field.path) and (not rest or rest[0] in ".["):
            return field
    return None


def _summary(error: AppError, elsewhere: Mapping[str, str]) -> Element:
    return div(".notice.bad", role="alert")[
        p[error.message],
        elsewhere and ul[(li[f"{name}: {text}"] for name, text in elsewhere.items())],
    ]


def _row(field: Field, text: str, problems: Mapping[str, str], now: str | None) -> Element:
    said = [each for name, each in problems.items() if _owner(name, [field])]
    described = f"{field.path}-said"
    return div(class_=["field", "wrong" if said else ""])[
        label(for_=field.path)[field.label, field.required and span(".required")[" (needed)"]],
        _control(field, text, described, wrong=bool(said)),
        small(id=described)[
            [span(".problem")[each, " "] for each in said],
            now is not None and now != text and span(".problem")[f"Is now: {now or '(empty)'}. "],
            field.help,
        ],
    ]


def _control(field: Field, text: str, described: str, *, wrong: bool) -> Renderable:
    common: dict[str, Any] = {
        "id": field.path,
        "name": field.path,
        "required": field.required,
        "aria_describedby": described,
        "aria_invalid": "true" if wrong else None,
    }
    match field.kind:
        case "choice":
            blank = () if field.required else ("",)
            return select(**common)[
                (
                    option(value=each, selected=each == text)[each or NOTHING]
                    for each in (*blank, *field.choices)
                )
            ]
        case "list" | "long":
            return textarea(**common, rows="4", spellcheck="false")[text]
        case "flag":
            return field_input(**common, type="checkbox", value="yes", checked=bool(text))
        case _:
            mode = {"number": "numeric", "amount": "decimal"}.get(field.kind)
            return field_input(
                **common, type="text", value=text, inputmode=mode, autocomplete="off",
                placeholder="2027-01-31T00:00:00Z" if field.kind == "time" else None,
            )  # fmt: skip


def confirm_form(
    action: str,
    csrf: str,
    *,
    submit: str,
    asks: Node,
    hidden: Typed | None = None,
    danger: bool = True,
) -> Renderable:
    """It says what it will do, and is done by a button of its own; most of these destroy."""
    return form(method="post", action=action, class_="confirm")[
        fieldset[
            legend(".visually-hidden")[submit],
            p[asks],
            hidden_fields({"csrf": csrf, **(hidden or {})}),
            button(type="submit", class_="danger" if danger else "primary")[submit],
        ]
    ]
