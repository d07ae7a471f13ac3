"""A page of the console: who may see it, how it is called, and how errors look."""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, tzinfo
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

import msgspec
from htpy import Node, Renderable, a, nav
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from libs.common.errors import AppError, InvalidRequest
from services.admin.console.layout import page_frame
from services.admin.console.places import places_open_to
from services.admin.console.session import Session
from services.admin.console.verbs import Verbs
from services.admin.fields import time_zone_problem
from services.admin.idempotency import HEADER as IDEMPOTENCY_KEY
from services.admin.pages import Page
from services.admin.state import State
from services.admin.validation import read_body

_ZONE = re.compile(r"[A-Za-z0-9_+/-]{1,64}")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
MAX_FORM_BYTES = 256 * 1024
# A route of 32 deployments has several hundred.
_MAX_FIELDS = 1_000
_ONCE = "once"


class ConsolePage(msgspec.Struct, frozen=True, kw_only=True):
    """What a page shows: its name, its content, and a notice of what was just done."""

    name: str
    content: Node
    notice: Node = None
    status: int = 200


class View:
    """A request for a page, by somebody who signed in."""

    def __init__(
        self, request: Request[State], session: Session, api: Verbs, typed: Mapping[str, str]
    ) -> None:
        self.request = request
        self.session = session
        self.api = api
        # The fields of the form that was posted, without the token.
        self.typed = typed

    @property
    def path(self) -> str:
        path: str = self.request.scope["path"]
        return path

    @property
    def query(self) -> Mapping[str, str]:
        """The URL's filters; of a name given twice the last one."""
        return dict(self.request.query_params)

    @property
    def now(self) -> datetime:
        return self.request.state["now"]()

    @cached_property
    def zone(self) -> tzinfo:
        """The viewer's, as his browser told it; else UTC."""
        name = unquote(self.request.cookies.get("zone", "UTC"))
        is_known = _ZONE.fullmatch(name) and time_zone_problem(name) is None
        return ZoneInfo(name if is_known else "UTC")

    def with_query(self, **changes: str | None) -> str:
        """The page's URL with some of its filters changed, and no cursor but one given."""
        filters = {name: text for name, text in self.query.items() if name != "cursor"}
        query = {name: text for name, text in (filters | changes).items() if text}
        return f"{self.path}?{urlencode(query)}" if query else self.path

    def once(self, error: AppError | None = None) -> dict[str, str]:
        """A hidden field: a form that is sent twice is done once.

        If the form was done before and then changed, the next try counts as another form.
        """
        wrong = () if error is None else error.wrong_fields
        is_spent = any(each.field == IDEMPOTENCY_KEY for each in wrong)
        key = None if is_spent else self.typed.get(_ONCE)
        return {_ONCE: key or self.request.state["new_id"]()}

    def once_headers(self) -> dict[str, str]:
        key = self.typed.get(_ONCE)
        return {IDEMPOTENCY_KEY: key} if key else {}

    def pager(self, page: Page[Any]) -> Node:
        """Links to the page before and after, where there are any."""
        cursors = (("Previous page", page.previous_cursor), ("Next page", page.next_cursor))
        links = [a(href=self.with_query(cursor=cursor))[text] for text, cursor in cursors if cursor]
        return bool(links) and nav(".pages", aria_label="Pages of the list")[*links]


Shown = ConsolePage | Response | Renderable
PageHandler = Callable[[View], Awaitable[Shown]]


def form_for(
    verb: Callable[..., Awaitable[Any]], get: PageHandler, post: PageHandler
) -> Mapping[str, PageHandler]:
    """The form of a verb: whoever may not call it is told so before he fills it in."""

    async def get_if_allowed(view: View) -> Shown:
        view.api.check(verb)
        return await get(view)

    return {"GET": get_if_allowed, "POST": post}


def show(view: View, page: Shown) -> Response:
    if isinstance(page, Response):
        page.headers.update(HEADERS)
        return page
    if not isinstance(page, ConsolePage):
        return HTMLResponse(str(page), headers=HEADERS)
    return HTMLResponse(
        str(
            page_frame(
                page.name,
                page.content,
                at=view.path,
                actor=view.session.actor,
                places=places_open_to(view.api.may),
                csrf=view.session.csrf,
                notice=page.notice,
            )
        ),
        status_code=page.status,
        headers=HEADERS,
    )


def go_to(path: str) -> Response:
    """Redirects after a form, so that a reload of the next page repeats nothing."""
    return RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)


def address_of(request: Request[Any]) -> str:
    """The page's path as a link has it: a name in it may have a question mark."""
    return quote(request.scope["path"])


def segment(text: str) -> str:
    """A name or id as one part of a path."""
    return quote(text, safe="")


async def typed_fields(request: Request[Any]) -> dict[str, str]:
    """The fields of a form that was posted; one that is there several times has a line for each.

    Raises AppError.
    """
    content = await read_body(request, MAX_FORM_BYTES, "application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            content.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise InvalidRequest("The form could not be read: it is not UTF-8, or too long.") from None
    typed: dict[str, str] = {}
    for name, value in pairs:
        # As browsers send the lines of a text.
        text = value.replace("\r\n", "\n")
        typed[name] = f"{typed[name]}\n{text}" if name in typed else text
    return typed
