"""Runs an ASGI app on uvicorn, the same way in each service."""

import resource
import signal
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from libs.common.collector import collect_rarely
from libs.common.web.bounded_http import BOUNDS, Bounds, Refuse, bounded_protocol


def serve(
    app: ASGIApp, *, refuse: Refuse, host: str, port: int, grace_s: int, send_timeout_s: float
) -> None:
    """Serves until SIGTERM or SIGINT; open requests then have `grace_s` to finish.

    A client that reads nothing for `send_timeout_s` is disconnected.
    """
    # After closing, uvicorn raises the signal that stopped it again. It catches an interrupt, so
    # the process exits with 0 instead of dying of SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    collect_rarely()
    _allow_open_files()
    options = server_options(refuse=refuse, grace_s=grace_s, send_timeout_s=send_timeout_s)
    uvicorn.run(app, host=host, port=port, **options)


def server_options(
    *, refuse: Refuse, grace_s: int, send_timeout_s: float, bounds: Bounds = BOUNDS
) -> dict[str, Any]:
    """uvicorn's options. `refuse` writes the errors of requests that never reach the app."""
    return {
        "loop": "uvloop",
        "http": bounded_protocol(bounds, refuse, send_timeout_s),
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # Only the app's own settings know which proxies to trust.
        "proxy_headers": False,
        "timeout_graceful_shutdown": grace_s,
        "timeout_keep_alive": 75,
        "backlog": 2048,
    }


def _allow_open_files() -> None:
    """Each connection to a client or provider needs a file; many shells allow only 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
