"""Forms as shown: with typed text, problems, and changes by others."""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from htpy import (
    Element,
    Node,
    Renderable,
    button,
    details,
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
    summary,
    textarea,
    ul,
)
from htpy import (
    input as field_input,
)

from libs.common.errors import AppError
from services.admin.console.elements import NOTHING
from services.admin.console.form_fields import FieldGroup, FormField, Typed

Fields = Sequence[FormField | FieldGroup]


def problems_of(error: AppError | None) -> dict[str, str]:
    """Problems by the member's path."""
    wrong = () if error is None else error.wrong_fields
    return {each.field: each.message for each in wrong}


def error_status(error: AppError | None) -> int:
    return HTTPStatus.OK if error is None else error.status


def form_of(
    action: str,
    csrf: str,
    fields: Fields,
    *,
    submit: str,
    typed: Typed | None = None,
    error: AppError | None = None,
    hidden: Typed | None = None,
    now: Typed | None = None,
    also: Typed | None = None,
) -> Renderable:
    """`now` has what others changed meanwhile: it is shown beside each field that differs.

    `also` are buttons beside the one that submits: the names that they send, and what they say.
    """
    typed, now = typed or {}, now or {}
    problems = problems_of(error)
    plain = list(_plain(fields))
    elsewhere = {name: text for name, text in problems.items() if not _owner(name, plain)}

    def row(field: FormField) -> Element:
        return _row(field, typed.get(field.path, ""), problems, now.get(field.path))

    def element(field: FormField | FieldGroup) -> Renderable:
        if isinstance(field, FormField):
            return row(field)
        is_wanted = any(_owner(name, field.rare) for name in problems)
        return fieldset(".group")[
            legend[field.name],
            div(".group-fields")[(row(each) for each in field.fields)],
            bool(field.rare)
            and details(open=is_wanted)[
                summary["More"], div(".group-fields")[(row(each) for each in field.rare)]
            ],
        ]

    return form(method="post", action=action, class_="fields")[
        hidden_fields({"csrf": csrf, **(hidden or {})}),
        None if error is None else _summary(error, elsewhere),
        (element(field) for field in fields),
        div(".buttons")[
            button(type="submit", class_="primary")[submit],
            (
                button(type="submit", name=name, value="yes", formnovalidate=True)[title]
                for name, title in (also or {}).items()
            ),
        ],
    ]


def _plain(fields: Fields) -> Iterator[FormField]:
    for field in fields:
        if isinstance(field, FormField):
            yield field
        else:
            yield from (*field.fields, *field.rare)


def hidden_fields(values: Typed) -> Node:
    return [field_input(type="hidden", name=name, value=text) for name, text in values.items()]


def _owner(name: str, fields: Sequence[FormField]) -> FormField | None:
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


def _row(field: FormField, text: str, problems: Mapping[str, str], now: str | None) -> Element:
    messages = [each for name, each in problems.items() if _owner(name, [field])]
    description_id = f"{field.path}-said"
    title = [field.label, field.required and span(".required")[" (needed)"]]
    is_group = field.kind == "many"
    return (fieldset if is_group else div)(
        class_=["field", "flag" if field.kind == "flag" else "", "wrong" if messages else ""]
    )[
        legend[title] if is_group else label(for_=field.path)[title],
        _control(field, text, description_id, wrong=bool(messages)),
        small(id=description_id)[
            [span(".problem")[each, " "] for each in messages],
            now is not None and now != text and span(".problem")[f"Is now: {now or '(empty)'}. "],
            field.help,
        ],
    ]


def _control(field: FormField, text: str, description_id: str, *, wrong: bool) -> Renderable:
    common: dict[str, Any] = {
        "id": field.path,
        "name": field.path,
        "required": field.required,
        "aria_describedby": description_id,
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
        case "many":
            return _choices(field, text)
        case "list" | "long" | "json":
            return textarea(**common, rows="3", spellcheck="false")[text]
        case "flag":
            return field_input(**common, type="checkbox", value="yes", checked=bool(text))
        case _:
            mode = {"number": "numeric", "amount": "decimal", "decimal": "decimal"}.get(field.kind)
            return field_input(
                **common, type="text", value=text, inputmode=mode, autocomplete="off",
                placeholder="2027-01-31T00:00:00Z" if field.kind == "time" else None,
            )  # fmt: skip


def _choices(field: FormField, text: str) -> Renderable:
    """A box for each; they are sent by one name, which the reader of forms joins by lines."""
    chosen = text.splitlines()
    return div(".choices")[
        (
            label[
                field_input(type="checkbox", name=field.path, value=each, checked=each in chosen),
                " ",
                each,
            ]
            for each in field.choices
        )
    ]


def confirm_form(
    action: str,
    csrf: str,
    *,
    submit: str,
    asks: Node,
    hidden: Typed | None = None,
    danger: bool = True,
) -> Renderable:
    """A form that states its effect, with a button; most of these are destructive."""
    return form(method="post", action=action, class_="confirm")[
        fieldset[
            legend(".visually-hidden")[submit],
            p[asks],
            hidden_fields({"csrf": csrf, **(hidden or {})}),
            button(type="submit", class_="danger" if danger else "primary")[submit],
        ]
    ]
