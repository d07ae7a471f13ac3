"""`python -m deploy.local.provider --port 9000`; port 0 takes a free one and prints it."""

import argparse
import contextlib
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from deploy.local.provider.app import StandIn
from deploy.local.provider.oracle import Oracle

_BACKLOG = 2048
_SHUTDOWN_S = 5


def main() -> int:
    arguments = _parse()
    try:
        listener = socket.create_server((arguments.host, arguments.port), backlog=_BACKLOG)
    except OSError as error:
        print(f"provider stand-in: {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return 1
    logging.getLogger("uvicorn.error").addFilter(_is_no_scripted_cut)
    with contextlib.ExitStack() as stack:
        log = None
        if arguments.log is not None:
            log = stack.enter_context(arguments.log.open("ab"))
        host, port = listener.getsockname()[:2]
        print(f"provider stand-in: listening on http://{host}:{port}", flush=True)
        config = uvicorn.Config(
            StandIn(Oracle(log)),
            loop="uvloop",
            http="httptools",
            ws="none",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.provider", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--log", type=Path, help="append one JSON line for each call")
    return parser.parse_args()


def _is_no_scripted_cut(record: logging.LogRecord) -> bool:
    """A scripted cut leaves its response unfinished on purpose; the server calls that an error."""
    return "without completing response" not in record.getMessage()


if __name__ == "__main__":
    sys.exit(main())
