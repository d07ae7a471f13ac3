"""The admin service as an ASGI app."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware

from libs.common.web.reference import reference_routes
from services.admin.audit.audited_endpoints import with_audit, with_refusals
from services.admin.clock import new_uuid7, utc_now
from services.admin.console.site import console_routes
from services.admin.errors import exception_handlers
from services.admin.idempotency import Idempotency
from services.admin.metrics import Metrics
from services.admin.middleware import RequestContext, RequireActor
from services.admin.people.access import with_role
from services.admin.reference import APPENDIX, describe
from services.admin.routes import ENDPOINTS, routes_of
from services.admin.settings import Settings
from services.admin.state import OpenResources, State, open_resources, open_state
from services.admin.wrong_keys import WrongKeys

# How long a request waits for the worker to post its correction.
_CORRECTION_WAIT_S = 10.0


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
                metrics=metrics,
                now=now,
                correction_wait_s=correction_wait_s,
            ) as state,
            metrics.databases.running(resources.database, resources.redis),
        ):
            yield state

    around = (
        with_refusals(clock),
        with_role,
        # A replayed answer is not a write.
        Idempotency(settings.root_keys),
        with_audit(ENDPOINTS),
    )
    wrong_keys = WrongKeys(clock)
    app = Starlette(
        routes=[
            *routes_of(ENDPOINTS, around),
            *console_routes(ENDPOINTS, around, wrong_keys),
            *reference_routes(partial(describe, ENDPOINTS), APPENDIX),
        ],
        middleware=[
            Middleware(RequestContext, metrics=metrics, new_id=new_uuid7),
            Middleware(RequireActor, metrics=metrics, wrong_keys=wrong_keys),
        ],
        exception_handlers=exception_handlers(),
        lifespan=lifespan,
    )
    # A redirect would repeat the Host header that the client sent, and name `http://` behind TLS.
    app.router.redirect_slashes = False
    return app
