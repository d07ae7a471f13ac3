"""The console's routes: who may see a page, which form may be posted, how an error looks."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import structlog
from htpy import Node, a, div, li, p, ul
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from libs.common.errors import AppError, Forbidden, NotFound, Unauthenticated, Unavailable
from libs.common.storage.mongo.driver import PyMongoError
from libs.common.storage.mongo.sum_tables import TooManyGroups
from libs.common.storage.redis.client import RedisError
from services.admin.console.forms import confirm_form
from services.admin.console.layout import page_frame
from services.admin.console.page import (
    HEADERS,
    PageHandler,
    Shown,
    View,
    address_of,
    go_to,
    show,
    typed_fields,
)
from services.admin.console.pages import PAGES
from services.admin.console.places import Verb, places_open_to
from services.admin.console.session import BY_ISSUER, COOKIE, Session, Sessions
from services.admin.console.sign_in import ENDED, sign_in_page, sign_in_routes
from services.admin.console.sign_on import sign_on_routes
from services.admin.console.static_files import show_file
from services.admin.console.verbs import Verbs
from services.admin.endpoints import Around, Endpoint, Next, served_within
from services.admin.errors import too_many_groups
from services.admin.state import State
from services.admin.wrong_keys import WrongKeys

log = structlog.get_logger(__name__)

May = Callable[[Verb], bool]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_FOREIGN = (
    "This form did not come from the console, or is from an earlier session. "
    "Nothing was done. Go back, load the page again, and send it once more."
)
_FAILED = "The console failed to show this. The service's log has the reason."
_NAMES: Mapping[int, str] = {
    400: "Not understood",
    403: "Not allowed",
    404: "Not found",
    422: "Not understood",
    503: "Not available",
}
_ADVICE: Mapping[int, str] = {
    403: "Owners give roles and accounts, on the page People.",
    404: "It may have been removed, or the address is mistyped. The lists show what exists.",
    412: "Somebody changed it meanwhile. Go back and load it again to see what it is now.",
    422: "Go back, correct it, and send it again.",
    429: "Wait a moment, then load the page again.",
    503: "Calls through the gateway go on by their own rules. Load the page again in some seconds.",
}


def console_routes(
    endpoints: Sequence[Endpoint], around: Sequence[Around], wrong_keys: WrongKeys
) -> list[BaseRoute]:
    """Pages call the endpoints with what is around them; guesses at keys are counted together."""
    by_handler = {endpoint.handler: endpoint for endpoint in endpoints}
    serve = served_within(around)

    def route(path: str, handlers: Mapping[str, PageHandler]) -> Route:
        async def dispatch(request: Request[State]) -> Response:
            handler = handlers["GET" if request.method == "HEAD" else request.method]
            return await _dispatch(request, handler, by_handler, serve)

        return Route(path, dispatch, methods=list(handlers))

    return [
        *(_with_errors(each) for each in (*sign_in_routes(wrong_keys), *sign_on_routes())),
        Route("/console/static/{version}/{name}", show_file),
        *(route(path, handlers) for path, handlers in PAGES.items()),
        route("/console/{rest:path}", dict.fromkeys(_METHODS, _nothing_here)),
    ]


def _with_errors(route: Route) -> Route:
    """Before there is a session, too, an error is a page."""
    endpoint = route.endpoint

    async def served(request: Request[State]) -> Response:
        try:
            return await endpoint(request)  # type: ignore[no-any-return]
        except AppError as error:
            return error_page(request, None, error)
        except (PyMongoError, RedisError, OSError) as error:
            log.error("console.unavailable", error=error)
            return error_page(request, None, _unavailable(error))

    return Route(route.path, served, methods=list(route.methods or ()))


async def _dispatch(
    request: Request[State],
    handler: PageHandler,
    endpoints: Mapping[Callable[..., Any], Endpoint],
    serve: Next,
) -> Response:
    session: Session | None = None
    may: May | None = None
    typed: dict[str, str] = {}
    try:
        _check_site(request)
        if request.method == "POST":
            typed = await typed_fields(request)
        session = await current_session(request)
        if session is None:
            return _to_sign_in(request, typed)
        api = Verbs(request, session.actor, serve, endpoints)
        may = api.may
        _check_token(request, session, typed)
        typed.pop("csrf", None)
        view = View(request, session, api, typed)
        return show(view, await handler(view))
    except AppError as error:
        return error_page(request, session, error, may, typed)
    except TooManyGroups as error:
        return error_page(request, session, too_many_groups(error), may)
    except (PyMongoError, RedisError, OSError) as error:
        log.error("console.unavailable", error=error)
        return error_page(request, session, _unavailable(error), may, typed)
    except Exception as error:
        log.error("console.failed", error=error, exc_info=error)
        return error_page(request, session, AppError(_FAILED), may)


async def current_session(request: Request[State]) -> Session | None:
    """The signed-in actor with present rights: a revoked key ends its sessions at once."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    # An open page polls by itself, which must not prolong the session.
    session = await Sessions(request.state["redis"]).find(
        cookie, request.state["now"](), by_itself="hx-request" in request.headers
    )
    if session is None:
        return None
    if session.proof == BY_ISSUER:
        return session if request.state["sign_on"].code_flow is not None else None
    try:
        actor = await request.state["sign_in"].of_hash(session.proof)
        return msgspec.structs.replace(session, actor=actor)
    except Unauthenticated:
        return None


def _check_site(request: Request[State]) -> None:
    """Raises Forbidden for another site's form, whose fields are not even shown.

    Shown after a sign-in as typed text, they would invite a click on a stranger's form.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    if request.method == "POST" and site != "same-origin":
        raise Forbidden(_FOREIGN)


def _check_token(request: Request[State], session: Session, typed: Mapping[str, str]) -> None:
    """Raises Forbidden for a form of another session."""
    if request.method == "POST" and not session.is_form_of(typed.get("csrf", "")):
        raise Forbidden(_FOREIGN)


def _to_sign_in(request: Request[State], typed: Mapping[str, str]) -> Response:
    """The typed text comes back after the sign-in, so that it is not lost."""
    if "hx-request" in request.headers:
        return Response(
            status_code=HTTPStatus.NO_CONTENT, headers={**HEADERS, "hx-refresh": "true"}
        )
    if request.method == "POST":
        return sign_in_page(request, then=address_of(request), typed=typed, notice=ENDED)
    query = f"?{request.url.query}" if request.url.query else ""
    return go_to(f"/console/sign-in?then={quote(address_of(request) + query, safe='')}")


def _unavailable(error: Exception) -> Unavailable:
    if isinstance(error, PyMongoError):
        return Unavailable(
            "MongoDB does not answer. If you sent a form, it may or may not have been applied. "
            "Usage of calls waits in the queue meanwhile, and nothing of it is lost."
        )
    return Unavailable(
        "Redis does not answer, so sessions cannot be read and holds are not known. "
        "What MongoDB holds, accounts, prices and the ledger, is as it was. "
        "Of a cluster, the node of your session may be away alone: sign in again for another one."
    )


def error_page(
    request: Request[Any],
    session: Session | None,
    error: AppError,
    may: May | None = None,
    typed: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """States the error and the remedy. `typed` has the fields of a form, to be sent again."""
    advice = _ADVICE.get(error.status)
    request_id = request.scope.get("request_id")
    content = div(".panel")[
        p[error.message],
        advice and p[advice],
        ul[
            _accounts(request, session, error),
            error.status != HTTPStatus.FORBIDDEN
            and li[a(href=address_of(request))["Load this page again"]],
            li[a(href="/console")["Overview"]],
        ],
        _resend_form(request, session, error, typed),
        request_id and p(".faint")[f"Request {request_id}"],
    ]
    name = _NAMES.get(error.status, "It failed")
    page = page_frame(
        name,
        content,
        at=request.url.path,
        actor=None if session is None else session.actor,
        places=() if may is None else places_open_to(may),
        csrf="" if session is None else session.csrf,
    )
    return HTMLResponse(str(page), status_code=error.status, headers=HEADERS)


def _resend_form(
    request: Request[Any], session: Session | None, error: AppError, typed: Mapping[str, str]
) -> Node:
    """The typed text is kept, so that it is not lost while a server is away."""
    if error.status != Unavailable.status or session is None or request.method != "POST":
        return None
    return confirm_form(
        address_of(request), session.csrf, submit="Send the form again", danger=False,
        asks="What you typed is kept here. What was done after all is not done twice.",
        hidden=typed,
    )  # fmt: skip


def _accounts(request: Request[Any], session: Session | None, error: AppError) -> Node:
    """A list of all accounts asks whoever has several in scope for one of them."""
    accounts = () if session is None else session.actor.accounts or ()
    if not any(wrong.field == "user_id" for wrong in error.wrong_fields):
        return None
    at = address_of(request)
    return [li[a(href=f"{at}?{urlencode({'user_id': each})}")[each]] for each in accounts]


async def _nothing_here(_: View) -> Shown:
    raise NotFound("The console has no page at this address.")
