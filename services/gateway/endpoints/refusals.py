"""Errors of requests that do not become a call, in the format of the path."""

import time
from os import urandom

from starlette.responses import Response
from starlette.types import Scope

from libs.common.domain.ids import uuid7
from libs.common.errors import AppError, UpgradeRequired
from services.gateway.endpoints.paths import canonical
from services.gateway.endpoints.reply_headers import error_headers
from services.gateway.formats import MESSAGES, format_of_path


def refuse(path: str, error: AppError, *, anthropic: bool = False) -> Response:
    """`anthropic` for clients of Anthropic's on paths that both APIs have."""
    client_format = MESSAGES if anthropic else format_of_path(canonical(path))
    request_id = uuid7(time.time_ns() // 1_000_000, urandom(10))
    answer = client_format.error(error, request_id)
    response = Response(answer.body, answer.status)
    response.raw_headers[:] = error_headers(error, request_id, len(answer.body))
    return response


def wants_websocket(scope: Scope) -> bool:
    return any(
        name == b"upgrade" and value.strip().lower() == b"websocket"
        for name, value in scope["headers"]
    )


def upgrade_required(path: str) -> Response:
    """Codex tries a WebSocket first; a 426 makes it fall back to HTTP at once.

    It is not a call yet: nobody is asked for a key, and the ledger gets no entry.
    """
    error = UpgradeRequired(f"WebSockets are not supported: send a POST to {path}.")
    response = refuse(path, error)
    # What is spoken here instead, as a 426 has to say.
    response.raw_headers += ((b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade"))
    return response
