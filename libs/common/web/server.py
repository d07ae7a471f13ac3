"""Runs an ASGI app on uvicorn, the same way in each service."""

import gc
import signal

import uvicorn
from starlette.applications import Starlette

from libs.common.web.unread import reading_protocol


def serve(app: Starlette, *, host: str, port: int, grace_s: int, send_timeout_s: float) -> None:
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
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=reading_protocol(send_timeout_s),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Nothing here asks for the client's address.
        proxy_headers=False,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=75,
        backlog=2048,
    )
