"""Signing in to the console at an OpenID Connect issuer, by the code flow.

The pending sign-on is encrypted into a cookie, so strangers can store nothing here; its code works
once at the issuer. The way back ends on a page rather than in a redirect: browsers send no strict
cookie along redirects that began at another site.
"""

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from htpy import a, meta, p
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from libs.common.errors import NotFound, Unauthenticated
from libs.common.settings import Secret
from services.admin.console.layout import page_frame
from services.admin.console.page import HEADERS
from services.admin.console.session import BY_ISSUER, Sessions, is_over_tls, set_cookie
from services.admin.console.sign_in import HOME, then_of
from services.admin.people.oidc import CodeFlow, Pending
from services.admin.state import State

PATH = "/console/sign-on"
_BACK = f"{PATH}/return"
_COOKIE = "console_sign_on"
_PATIENCE = timedelta(minutes=10)
_NONCE_BYTES = 12


class _SignOn(msgspec.Struct, frozen=True):
    pending: Pending
    then: str
    ends_at: datetime


class _CookieCipher:
    """By a key of its own, that comes from the root key."""

    def __init__(self, root_key: Secret) -> None:
        self._aead = AESGCM(hmac.digest(root_key.reveal().encode(), b"console sign-on", "sha256"))

    def encrypted(self, sign_on: _SignOn) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        content = self._aead.encrypt(nonce, msgspec.json.encode(sign_on), None)
        return urlsafe_b64encode(nonce + content).decode()

    def decrypted(self, cookie: str, now: datetime) -> _SignOn | None:
        """None for what this service did not encrypt, or encrypted too long ago."""
        try:
            raw = urlsafe_b64decode(cookie.encode("ascii"))
            content = self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None)
        except (ValueError, InvalidTag):
            return None
        sign_on = msgspec.json.decode(content, type=_SignOn)
        return sign_on if now < sign_on.ends_at else None


def sign_on_routes() -> list[Route]:
    return [Route(PATH, _begin), Route(_BACK, _finish)]


async def _begin(request: Request[State]) -> Response:
    address, pending = await _flow(request).begin(_address_of(request, _BACK))
    then = then_of(request.query_params.get("then", HOME))
    sign_on = _SignOn(pending, then, request.state["now"]() + _PATIENCE)
    response = RedirectResponse(address, headers=HEADERS)
    # The issuer's redirect back is another site's: a strict cookie would not come with it.
    response.set_cookie(
        _COOKIE, _cipher(request).encrypted(sign_on), path=PATH, httponly=True, samesite="lax",
        secure=is_over_tls(request), max_age=int(_PATIENCE.total_seconds()),
    )  # fmt: skip
    return response


async def _finish(request: Request[State]) -> Response:
    flow, state = _flow(request), request.state
    sign_on = _cipher(request).decrypted(request.cookies.get(_COOKIE, ""), state["now"]())
    if sign_on is None:
        raise Unauthenticated(
            "This sign-on was not begun in this browser, or was begun more than ten minutes ago. "
            "Begin again."
        )
    actor = await flow.finish(sign_on.pending, urlsplit(str(request.url)).query)
    cookie, _ = await Sessions(state["redis"]).begin(actor, BY_ISSUER, state["now"]())
    content = [
        meta(http_equiv="refresh", content=f"0; url={sign_on.then}"),
        p["You are signed in as ", actor.name, ". ", a(href=sign_on.then)["Go on"]],
    ]
    page = page_frame("Signed in", content, at=_BACK, actor=None)
    response = HTMLResponse(str(page), headers=HEADERS)
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
    scheme = "https" if is_over_tls(request) else "http"
    return f"{scheme}://{request.url.netloc}{path}"


def _cipher(request: Request[State]) -> _CookieCipher:
    return _CookieCipher(request.state["settings"].admin_api_key)
