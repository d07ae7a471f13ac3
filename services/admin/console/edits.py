"""Forms that change what is stored: filled in from it, and shown beside what others change."""

from collections.abc import Awaitable, Callable
from typing import Any

from htpy import Renderable

from libs.common.errors import AppError, Conflict, PreconditionFailed, ValidationFailed
from services.admin.console.form_fields import Typed
from services.admin.console.forms import Fields, form_of
from services.admin.console.page import Shown, View, address_of, go_to
from services.admin.endpoints import Answer

_ETAG = "etag"


def edit_form(
    view: View,
    fields: Fields,
    answer: Answer[Any],
    stored: Typed,
    *,
    error: AppError | None,
    raced: bool,
    hidden: Typed | None = None,
    also: Typed | None = None,
) -> Renderable:
    """`stored` is the answer's content as fields show it. The form knows of which revision it is:
    of the one that it was filled in from; after a race, of the one that it is shown beside.
    """
    current = answer.headers["etag"]
    etag = current if raced else view.typed.get(_ETAG) or current
    return form_of(
        address_of(view.request), view.session.csrf, fields, submit="Save",
        typed=view.typed or stored, error=error, now=stored if raced else None,
        hidden={_ETAG: etag, **(hidden or {})}, also=also,
    )  # fmt: skip


async def save(
    view: View,
    verb: Callable[..., Awaitable[Answer[Any]]],
    body: Any,
    *,
    noun: str,
    again: Callable[..., Awaitable[Shown]],
    then: str,
    **path: str,
) -> Shown:
    """Redirects to `then`; a refusal is shown by `again`, the page with the form."""
    headers = {"if-match": view.typed.get(_ETAG, "")}
    try:
        await view.api.call(verb, query=None, body=body, headers=headers, **path)
    except PreconditionFailed:
        return await again(view, _edit_conflict(noun), raced=True)
    except (ValidationFailed, Conflict) as error:
        return await again(view, error)
    return go_to(then)


def _edit_conflict(noun: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"Somebody else changed this {noun} while you edited it, so nothing was saved. What is "
        "stored now stands below each field that differs: save again to replace it."
    )
