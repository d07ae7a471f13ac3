"""Runs an ASGI app on uvicorn, the same way in each service."""

import gc
import resource
import signal
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from libs.common.web.bounded_http import BOUNDS, Bounds, Refuse, bounded_protocol


def serve(
    app: ASGIApp, *, refuse: Refuse, host: str, port: int, grace_s: int, send_timeout_s: float
) -> None:
    """Until SIGTERM or SIGINT; requests under way then have `grace_s` to finish.

    A client that reads nothing of what it is sent for `send_timeout_s` is cut off.
    """
    # Once all is closed, uvicorn raises the signal that stopped it again. It passes over an
    # interrupt, so that the process then exits with 0 instead of dying of SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Modules live as long as the process, so no collection need look at them again; and a request
    # makes some hundreds of objects but hardly a cycle, so the default of 700 collects too often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _allow_open_files()
    options = server_options(refuse=refuse, grace_s=grace_s, send_timeout_s=send_timeout_s)
    uvicorn.run(app, host=host, port=port, **options)


def server_options(
    *, refuse: Refuse, grace_s: int, send_timeout_s: float, bounds: Bounds = BOUNDS
) -> dict[str, Any]:
    """uvicorn's. `refuse` writes the errors of requests that never reach the app."""
    return {
        "loop": "uvloop",
        "http": bounded_protocol(bounds, refuse, send_timeout_s),
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # Whoever wants the client's address knows which proxies there are; uvicorn does not.
        "proxy_headers": False,
        "timeout_graceful_shutdown": grace_s,
        "timeout_keep_alive": 75,
        "backlog": 2048,
    }


def _allow_open_files() -> None:
    """Connections to clients and to providers each need one; many shells allow 1024 only."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
