"""Signing in to the console at an OpenID Connect issuer, by the code flow.

What was begun is kept in Redis, named by a cookie, and used once. The way back from the issuer ends
on a page rather than in a redirect: browsers send no strict cookie along redirects that began at
another site.
"""

from datetime import timedelta
from hashlib import sha256
from secrets import token_urlsafe
from urllib.parse import urlsplit

import msgspec
from htpy import a, meta, p
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from libs.common.errors import NotFound, Unauthenticated
from services.admin.console.layout import frame
from services.admin.console.page import HEADERS
from services.admin.console.session import BY_ISSUER, Sessions, is_secure, set_cookie
from services.admin.console.sign_in import HOME, then_of
from services.admin.people.oidc import CodeFlow, Pending
from services.admin.state import State

PATH = "/console/sign-on"
_BACK = f"{PATH}/return"
_COOKIE = "console_sign_on"
_PATIENCE = timedelta(minutes=10)
_SECRET_BYTES = 32


class _Begun(msgspec.Struct, frozen=True):
    pending: Pending
    then: str


def sign_on_routes() -> list[Route]:
    return [Route(PATH, _begin), Route(_BACK, _finish)]


async def _begin(request: Request[State]) -> Response:
    address, pending = await _flow(request).begin(_address_of(request, _BACK))
    name = token_urlsafe(_SECRET_BYTES)
    begun = _Begun(pending, then_of(request.query_params.get("then", HOME)))
    await request.state["redis"].set(_key(name), msgspec.json.encode(begun), ex=_PATIENCE)
    response = RedirectResponse(address, headers=HEADERS)
    # The issuer's redirect back is another site's: a strict cookie would not come with it.
    response.set_cookie(
        _COOKIE, name, path=PATH, httponly=True, samesite="lax", secure=is_secure(request),
        max_age=int(_PATIENCE.total_seconds()),
    )  # fmt: skip
    return response


async def _finish(request: Request[State]) -> Response:
    flow, state = _flow(request), request.state
    kept = await state["redis"].getdel(_key(request.cookies.get(_COOKIE, "")))
    if kept is None:
        raise Unauthenticated(
            "This sign-on was not begun in this browser, or longer than ten minutes ago. "
            "Begin again."
        )
    begun = msgspec.json.decode(kept, type=_Begun)
    actor = await flow.finish(begun.pending, urlsplit(str(request.url)).query)
    cookie, _ = await Sessions(state["redis"]).begin(actor, BY_ISSUER, state["now"]())
    content = [
        meta(http_equiv="refresh", content=f"0; url={begun.then}"),
        p["You are signed in as ", actor.name, ". ", a(href=begun.then)["Go on"]],
    ]
    shown = frame("Signed in", content, at=_BACK, actor=None)
    response = HTMLResponse(str(shown), headers=HEADERS)
    response.delete_cookie(_COOKIE, path=PATH)
    set_cookie(request, response, cookie)
    return response


def _flow(request: Request[State]) -> CodeFlow:
    """Raises NotFound where OIDC_CLIENT_ID is not set."""
    flow = request.state["sign_on"].code_flow
    if flow is None:
        raise NotFound("The console has no sign-on at an issuer: OIDC_CLIENT_ID is not set.")
    return flow


def _address_of(request: Request[State], path: str) -> str:
    """As the browser knows it; the issuer lets pass only what was registered there."""
    scheme = "https" if is_secure(request) else "http"
    return f"{scheme}://{request.url.netloc}{path}"


def _key(name: str) -> str:
    return f"console:sign-on:{sha256(name.encode()).hexdigest()}"
