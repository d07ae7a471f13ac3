"""The gateway's ASGI application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import prometheus_client
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.errors import AppError, InvalidRequest, MethodNotAllowed, NotFound
from libs.common.storage.readiness import check_writable, storage_checks
from libs.common.web.health import live, ready
from libs.common.web.reference import reference_routes
from services.gateway.cors import allow_origins, origins_of
from services.gateway.endpoints.budget import show_budget
from services.gateway.endpoints.generation import GenerationEndpoint
from services.gateway.endpoints.models import list_models, show_model
from services.gateway.endpoints.paths import canonical, not_served
from services.gateway.endpoints.refusals import refuse, upgrade_required, wants_websocket
from services.gateway.endpoints.stored_responses import StoredEndpoint
from services.gateway.endpoints.token_counts import CountEndpoint
from services.gateway.endpoints.usage import show_usage
from services.gateway.formats import FORMATS, MESSAGES, RESPONSES
from services.gateway.reference import describe
from services.gateway.settings import Settings
from services.gateway.state import State, open_state

log = structlog.get_logger(__name__)
_METHOD_NOT_ALLOWED = 405

_ENDPOINTS = {
    client_format.path: GenerationEndpoint(client_format) for client_format in FORMATS.values()
}
# Where the order matters, the first that fits: `input_tokens` is not a response's id.
_OTHER_ENDPOINTS = (
    CountEndpoint(MESSAGES, "/count_tokens"),
    CountEndpoint(RESPONSES, "/input_tokens"),
    StoredEndpoint({"GET": "retrieve", "DELETE": "delete"}),
    StoredEndpoint({"GET": "list_items"}, "/input_items"),
    StoredEndpoint({"POST": "cancel"}, "/cancel"),
)

StateFactory = Callable[[Settings], AbstractAsyncContextManager[State]]


class GatewayApp(Starlette):
    """Serves the proxy endpoints past the layers that only the other routes need.

    They catch and answer everything themselves; routing, error handling and their wrappers would
    cost each call about a tenth of its CPU time.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint: ASGIApp | None = None
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = _ENDPOINTS.get(scope["path"])
        if endpoint is None and scope["type"] == "http":
            endpoint = self._other_endpoint(scope)
        await (endpoint or super().__call__)(scope, receive, send)

    def _other_endpoint(self, scope: Scope) -> ASGIApp | None:
        """For paths that are written in another way, and for what is not a call."""
        path = scope["path"] = canonical(scope["path"])
        if not path.isprintable():
            # A route would pass over a line break at the end.
            return refuse(path, InvalidRequest("The path has an unprintable character."))
        if scope["method"] == "GET" and path in _ENDPOINTS and wants_websocket(scope):
            return upgrade_required(path)
        return _ENDPOINTS.get(path) if scope["method"] == "POST" else None


def create_app(settings: Settings, state_factory: StateFactory = open_state) -> ASGIApp:
    """`state_factory` lets tests put their own resources in."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[State]:
        async with state_factory(settings) as state:
            log.info("gateway.started", port=settings.gateway_port)
            yield state
        log.info("gateway.stopped")

    app = GatewayApp(
        routes=[
            *(
                # For the other methods, which they refuse; the app itself takes POST.
                Route(path, endpoint)
                for path, endpoint in _ENDPOINTS.items()
            ),
            *(Route(endpoint.path, endpoint) for endpoint in _OTHER_ENDPOINTS),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/v1/budget", show_budget, methods=["GET"]),
            Route("/v1/usage", show_usage, methods=["GET"]),
            Route("/v1/models/{model:path}", show_model, methods=["GET"]),
            Route("/health", _health, methods=["GET"]),
            Route("/ready", _ready, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
            *reference_routes(describe),
        ],
        exception_handlers={
            AppError: _app_error,
            HTTPException: _http_exception,
            Exception: _crash,
        },
        lifespan=lifespan,
    )
    # It would send clients to the host that they name, and to `http://` behind TLS.
    app.router.redirect_slashes = False
    return allow_origins(app, origins_of(settings.cors_allow_origins))


async def _health(_request: Request) -> Response:
    return live()


async def _ready(request: Request) -> Response:
    state, meter = request.state, request.state.parts.meter
    checks = storage_checks(state.database, state.redis)
    checks |= {"redis": partial(check_writable, state.redis), "usage": meter.check}
    return await ready(checks)


async def _metrics(_request: Request) -> Response:
    return Response(
        prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST
    )


def _app_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, AppError):
        raise error
    return refuse(request.url.path, error, anthropic="anthropic-version" in request.headers)


def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path
    if error.status_code == _METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        refusal: AppError = MethodNotAllowed(f"{request.method} is not allowed: use {allowed}.")
        response = _app_error(request, refusal)
        response.headers["allow"] = allowed
        return response
    return _app_error(request, NotFound(not_served(path)))


def _crash(request: Request, error: Exception) -> Response:
    log.error("request.crashed", path=request.url.path, exc_info=error)
    return _app_error(request, AppError("The gateway failed to serve this request."))
