"""The admin service as an ASGI app."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.web.health import live, ready
from services.admin import (
    accounts,
    corrections,
    cost_comparisons,
    cost_imports,
    costs,
    dead_letters,
    keys,
    ledger,
    model_tests,
    models,
    proof,
    provider_costs,
    quotes,
    recordings,
    usage,
    usage_sums,
)
from services.admin.announcer import Announcer
from services.admin.clock import new_uuid7, utc_now
from services.admin.errors import exception_handlers
from services.admin.metrics import Metrics
from services.admin.middleware import RequestContext, RequireAdminKey
from services.admin.settings import Settings
from services.admin.state import OpenResources, State, open_resources, open_state

# How long a request waits for the worker to post its correction.
_CORRECTION_WAIT_S = 10.0

Handler = Callable[[Request[State]], Awaitable[Response]]


def create_app(
    settings: Settings,
    *,
    open_resources: OpenResources = open_resources,
    now: Callable[[], datetime] = utc_now,
    correction_wait_s: float = _CORRECTION_WAIT_S,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Tests replace the arguments after `settings`."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with (
            open_resources(settings) as resources,
            open_state(
                settings,
                resources,
                announcer=Announcer(resources.redis, metrics),
                now=now,
                correction_wait_s=correction_wait_s,
            ) as state,
        ):
            yield state

    async def show_metrics(request: Request[State]) -> Response:
        with suppress(PyMongoError):
            metrics.dead_letters.set(await request.state["dead_letters"].count())
        return metrics.response()

    app = Starlette(
        routes=[*_routes(), _resource("/metrics", GET=show_metrics)],
        middleware=[
            Middleware(RequestContext, metrics=metrics, new_id=new_uuid7),
            Middleware(RequireAdminKey, keys=settings.root_keys, metrics=metrics, clock=clock),
        ],
        exception_handlers=exception_handlers(),
        lifespan=lifespan,
    )
    # A redirect would repeat the Host header that the client sent, and name `http://` behind TLS.
    app.router.redirect_slashes = False
    return app


def _routes() -> list[BaseRoute]:
    return [
        _resource("/health", GET=_health),
        _resource("/ready", GET=_ready),
        _resource("/admin/accounts", GET=accounts.list_accounts, POST=accounts.create_account),
        _resource(
            "/admin/accounts/{user_id}", GET=accounts.show_account, PATCH=accounts.change_account
        ),
        _resource("/admin/keys", GET=keys.list_keys, POST=keys.create_key),
        _resource(
            "/admin/keys/{api_key}",
            GET=keys.show_key,
            PATCH=keys.change_key,
            DELETE=keys.revoke_key,
        ),
        _resource("/admin/costs", GET=costs.list_costs, POST=costs.create_cost),
        _resource("/admin/costs/import", POST=cost_imports.import_costs),
        _resource("/admin/costs/imports", GET=cost_imports.list_imports),
        _resource(
            "/admin/costs/imports/{import_id}",
            GET=cost_imports.show_import,
            DELETE=cost_imports.undo_import,
        ),
        _resource("/admin/costs/compare", POST=cost_comparisons.compare_costs),
        _resource("/admin/costs/quote", POST=quotes.quote),
        # The id of a price in LiteLLM's map has slashes; it cannot be ended, as the error says.
        _resource("/admin/costs/{price_id:path}", GET=costs.show_cost, DELETE=costs.end_cost),
        _resource("/admin/models", GET=models.list_models, POST=models.create_model),
        # Before the next route, whose `{name:path}` also matches this path.
        _resource("/admin/models/{name:path}/test", POST=model_tests.test_model),
        _resource(
            "/admin/models/{name:path}",
            GET=models.show_model,
            PATCH=models.change_model,
            DELETE=models.delete_model,
        ),
        _resource("/admin/usage", GET=usage.list_usage),
        _resource("/admin/usage/summary", GET=usage_sums.show_summary),
        _resource("/admin/usage/series", GET=usage_sums.show_series),
        _resource("/admin/usage/user/{user_id}", GET=usage.show_usage),
        _resource("/admin/ledger/verify", GET=proof.verify_ledger),
        _resource("/admin/ledger/entries/{entry_id}", GET=ledger.show_entry),
        _resource("/admin/ledger/provider-costs", GET=provider_costs.list_provider_costs),
        _resource("/admin/ledger/corrections", POST=corrections.create_correction),
        _resource("/admin/ledger/reprice", POST=ledger.reprice),
        _resource("/admin/ledger/dead-letters", GET=dead_letters.list_letters),
        _resource("/admin/ledger/dead-letters/replay", POST=dead_letters.replay_letters),
        _resource(
            "/admin/recordings",
            GET=recordings.list_recordings,
            DELETE=recordings.delete_recordings,
        ),
        _resource(
            "/admin/recordings/{call_id}",
            GET=recordings.show_recording,
            DELETE=recordings.delete_recording,
        ),
    ]


def _resource(path: str, **handlers: Handler) -> Route:
    """One route for all methods of a path, so that a 405 lists all of them."""

    async def dispatch(request: Request[State]) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, dispatch, methods=list(handlers))


async def _health(_: Request[State]) -> Response:
    return live()


async def _ready(request: Request[State]) -> Response:
    return await ready(request.state["checks"])
