"""Wraps every request: its id, metrics and log line, and its actor."""

import time
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.errors import AppError, RateLimited, Unauthenticated
from services.admin.errors import error_response, fault_response
from services.admin.metrics import Metrics
from services.admin.people.sign_in import SignIn
from services.admin.wrong_keys import WrongKeys, count_guess

log = structlog.get_logger(__name__)


class RequestContext:
    """The process's edge: answers and logs every exception of a request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, new_id: Callable[[], str]) -> None:
        self._app = app
        self._metrics = metrics
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Extra slashes at the ends are ignored rather than redirected.
        scope["path"] = "/" + scope["path"].strip("/")
        request_id = scope["request_id"] = self._new_id()
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:  # noqa: BLE001 - the edge: logged and answered
                response = fault_response(Request(scope), error)
                if status == 0:
                    await response(scope, receive, send_with_id)
            finally:
                self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern stands for the path, which may hold a key's secret.
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.observe(scope["method"], route, status, seconds)
        if is_admin_path(scope):
            log.info(
                "request.done",
                method=scope["method"],
                route=route,
                status=status,
                latency_ms=round(seconds * 1000, 1),
                actor=scope["actor"].id if "actor" in scope else None,
            )


class RequireActor:
    """Rejects requests under `/admin` without a known actor, and limits guesses at keys.

    A request with a valid key is never limited, whatever else its address sends.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, wrong_keys: WrongKeys) -> None:
        self._app = app
        self._metrics = metrics
        self._wrong_keys = wrong_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_admin_path(scope):
            sign_in: SignIn = scope["state"]["sign_in"]
            try:
                scope["actor"] = await sign_in.actor(scope)
            except Unauthenticated as error:
                await self._refusal(scope, error)(scope, receive, send)
                return
            except AppError as error:
                await error_response(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope, reason: Unauthenticated) -> Response:
        throttle = count_guess(self._wrong_keys, self._metrics, scope)
        if throttle.wait_s is None:
            return error_response(Request(scope), reason)
        error = RateLimited(
            "Too many requests without a valid admin key. Requests with one are not limited. "
            f"{reason.message}",
            retry_after_s=throttle.wait_s,
        )
        response = error_response(Request(scope), error)
        # Each further guess needs a new connection.
        response.headers["connection"] = "close"
        return response


def is_admin_path(scope: Scope) -> bool:
    """Whether the path requires an actor."""
    path: str = scope["path"]
    return path == "/admin" or path.startswith("/admin/")
