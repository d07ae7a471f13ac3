"""Runs an ASGI app on uvicorn, the same way in each service."""

import signal

import uvicorn
from starlette.applications import Starlette


def serve(app: Starlette, *, host: str, port: int, grace_s: int) -> None:
    """Until SIGTERM or SIGINT; requests under way then have `grace_s` to finish."""
    # Once all is closed, uvicorn raises the signal that stopped it again. It passes over an
    # interrupt, so that the process then exits with 0 instead of dying of SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=75,
        backlog=2048,
    )
