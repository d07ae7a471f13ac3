"""Error responses: one shape, a stable code, and what the client can do."""

from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from libs.common.errors import AppError, NotFound, RequestTimeout, Unavailable, ValidationFailed
from libs.common.storage.mongo.driver import OperationFailure, PyMongoError
from libs.common.web.json import json_response

log = structlog.get_logger(__name__)
_NOT_SERVED = (
    "There is nothing at this path. The paths of the admin service begin with /admin; models are "
    "called at the gateway."
)


def error_response(request: Request[Any], error: AppError) -> Response:
    """`{"error": {"code", "message", "fields"?, "request_id"}}`."""
    return _answer(error, request.scope.get("request_id"))


def refuse(_path: str, error: AppError) -> Response:
    """For a request that never reached the app."""
    return _answer(error, None)


def _answer(error: AppError, request_id: str | None) -> Response:
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, ValidationFailed):
        content["fields"] = error.fields
    elif error.param is not None:
        content["fields"] = {error.param: error.message}
    content["request_id"] = request_id
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeout):
        # The rest of the body may still arrive, and must not be parsed as the next request.
        headers["connection"] = "close"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return json_response({"error": content}, status=error.status, headers=headers)


def exception_handlers() -> dict[type[Exception], Any]:
    """For `Starlette(exception_handlers=...)`."""
    return {
        AppError: error_response,
        HTTPException: _on_http_exception,
        PyMongoError: _on_mongo_error,
        ClientDisconnect: _on_disconnect,
    }


def _on_http_exception(request: Request[Any], error: HTTPException) -> Response:
    """Errors of the router. The message leaves out the path, which may hold a secret."""
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return error_response(request, NotFound(_NOT_SERVED))
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
            code, message = "method_not_allowed", f"This path supports {allowed} only."
        case _:
            code, message = "http_error", error.detail
    content = {"code": code, "message": message, "request_id": request.scope.get("request_id")}
    return json_response({"error": content}, status=error.status_code, headers=error.headers)


def _on_mongo_error(request: Request[Any], error: PyMongoError) -> Response:
    if isinstance(error, OperationFailure) and not error.timeout:
        # MongoDB is available and rejects the operation, so a retry does not help.
        return fault_response(request, error)
    log.error("mongo.unavailable", error=error)
    message = (
        "MongoDB does not answer. The request may or may not have been applied; retry shortly."
    )
    return error_response(request, Unavailable(message, retry_after_s=2))


def fault_response(request: Request[Any], error: Exception) -> Response:
    """Answers an unexpected exception; only the log has its details."""
    log.error("request.failed", error=error, exc_info=error)
    return error_response(
        request, AppError("The admin service failed to serve this request. Its log has the reason.")
    )


def _on_disconnect(_: Request[Any], __: Exception) -> Response:
    """The client has disconnected, so it never receives this."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)
