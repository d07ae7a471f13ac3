"""Signing in to the console with an admin key, and signing out."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

from htpy import Node, a, button, code, dd, dl, dt, form, label, p
from htpy import input as field_input
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from libs.common.domain.ids import secret_hash
from libs.common.errors import AppError, Forbidden, RateLimited, Unauthenticated
from libs.common.storage.redis.client import RedisError
from services.admin.console.layout import page_frame
from services.admin.console.page import HEADERS, go_to, typed_fields
from services.admin.console.session import COOKIE, Session, Sessions, set_cookie
from services.admin.state import State
from services.admin.wrong_keys import WrongKeys, count_guess

HOME = "/console"
_PATH = "/console/sign-in"
ENDED = "Your session has ended. Sign in again: what you typed is kept; nothing was done yet."
# Fields of forms that are not typed text.
_NOT_TYPED = frozenset({"csrf", "admin_key", "then", "typed"})


def sign_in_routes(wrong_keys: WrongKeys) -> list[Route]:
    """`wrong_keys` counts guesses here and at the API together."""

    async def show_or_sign_in(request: Request[State]) -> Response:
        if request.method != "POST":
            return sign_in_page(request, then=request.query_params.get("then", HOME))
        return await _sign_in(request, wrong_keys)

    return [
        Route(_PATH, show_or_sign_in, methods=["GET", "POST"]),
        Route("/console/sign-out", _sign_out, methods=["POST"]),
    ]


def sign_in_page(
    request: Request[Any],
    *,
    then: str,
    typed: Mapping[str, str] | None = None,
    notice: Node = None,
    status: int = HTTPStatus.OK,
) -> Response:
    """`typed` is what a form held when its session had ended: it is kept through the sign-in.

    None is not a form; one without fields, such as a button, is a form too.
    """
    fields = {name: text for name, text in (typed or {}).items() if name not in _NOT_TYPED}
    sign_on = f"/console/sign-on?{urlencode({'then': then})}"
    has_issuer = request.state["sign_on"].code_flow is not None
    content = form(".fields", method="post", action=_PATH)[
        field_input(type="hidden", name="then", value=then),
        typed is not None and field_input(type="hidden", name="typed", value=urlencode(fields)),
        label(for_="admin_key")["Admin key"],
        field_input(
            "#admin_key", name="admin_key", type="password", required=True, autofocus=True,
            autocomplete="current-password",
        ),
        p(".faint")[
            "The value of ", code["ADMIN_API_KEY"], ", or an admin key that an owner made for you "
            "on the page People."
        ],
        button(".primary", type="submit")["Sign in"],
        has_issuer and p[a(".button", href=sign_on)["Sign in with SSO"]],
    ]  # fmt: skip
    page = page_frame("Sign in", content, at=_PATH, actor=None, notice=notice)
    return HTMLResponse(str(page), status_code=status, headers=HEADERS)


async def _sign_in(request: Request[State], wrong_keys: WrongKeys) -> Response:
    state = request.state
    then = HOME
    fields: Mapping[str, str] | None = None
    try:
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Forbidden("Sign in on this page itself; another site sent this form.")
        typed = await typed_fields(request)
        then = then_of(typed.get("then", HOME))
        fields = dict(parse_qsl(typed["typed"])) if "typed" in typed else None
        key = typed.get("admin_key", "").strip()
        actor = await state["sign_in"].of_key(key)
    except Unauthenticated as error:
        throttle = count_guess(wrong_keys, state["metrics"], request.scope)
        refused: AppError = error
        if throttle.wait_s is not None:
            refused = RateLimited(
                "Too many keys were wrong. Wait a minute, then try again.",
                retry_after_s=throttle.wait_s,
            )
        return sign_in_page(
            request, then=then, typed=fields, notice=refused.message, status=refused.status
        )
    except AppError as error:
        return sign_in_page(
            request, then=then, typed=fields, notice=error.message, status=error.status
        )
    sessions = Sessions(state["redis"])
    earlier_cookie = request.cookies.get(COOKIE)
    cookie, session = await sessions.begin(actor, secret_hash(key), state["now"]())
    if earlier_cookie is not None:
        # Whoever signs in again leaves no session behind, but one whose node is away.
        with suppress(RedisError, OSError):
            await sessions.end(earlier_cookie)
    response = go_to(then) if fields is None else _send_again(then, fields, session)
    response.headers.update(HEADERS)
    set_cookie(request, response, cookie)
    return response


def _send_again(then: str, fields: Mapping[str, str], session: Session) -> Response:
    """The form of the session that ended, to be sent by a click: nobody else may send it."""
    content = form(".fields", method="post", action=then)[
        p["You are signed in again. Nothing was done yet with what you sent to ", code[then], "."],
        fields and dl(".facts")[([dt[name], dd[text]] for name, text in fields.items())],
        field_input(type="hidden", name="csrf", value=session.csrf),
        (field_input(type="hidden", name=name, value=text) for name, text in fields.items()),
        button(".primary", type="submit")["Send it"],
    ]
    page = page_frame("What you typed", content, at=then, actor=session.actor, csrf=session.csrf)
    return HTMLResponse(str(page), headers=HEADERS)


async def _sign_out(request: Request[State]) -> Response:
    """Needs no token: another site's form comes without the cookie, and ends nothing."""
    cookie = request.cookies.get(COOKIE)
    if cookie is not None:
        await Sessions(request.state["redis"]).end(cookie)
    response = go_to(_PATH)
    response.delete_cookie(COOKIE, path=HOME)
    response.headers.update({**HEADERS, "clear-site-data": '"cache"'})
    return response


def then_of(path: str) -> str:
    """A page of the console, never another site."""
    safe = path.startswith(HOME) and "//" not in path and "\\" not in path and path.isprintable()
    return path if safe else HOME
