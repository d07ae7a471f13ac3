"""Turns failures into errors, and answers them as problem documents."""

from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from libs.common.errors import AppError, MethodNotAllowed, NotFound, RequestTimeout, Unavailable
from libs.common.storage.mongo.driver import OperationFailure, PyMongoError
from libs.common.storage.mongo.sum_tables import TooManyGroups
from libs.common.web.json import encode_json
from services.admin.problems import MEDIA_TYPE, problem_of

log = structlog.get_logger(__name__)
_NOT_SERVED = (
    "There is nothing at this path. The paths of the admin service begin with /admin; models are "
    "called at the gateway."
)


def error_response(request: Request[Any], error: AppError) -> Response:
    return _answer(error, request.scope.get("request_id"))


def refuse(_path: str, error: AppError) -> Response:
    """For a request that never reached the app."""
    return _answer(error, None)


def _answer(error: AppError, request_id: str | None) -> Response:
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeout):
        # The rest of the body may still arrive, and must not be parsed as the next request.
        headers["connection"] = "close"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return Response(
        encode_json(problem_of(error, request_id)),
        status_code=error.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def exception_handlers() -> dict[type[Exception], Any]:
    """For `Starlette(exception_handlers=...)`."""
    return {
        AppError: error_response,
        HTTPException: _on_http_exception,
        PyMongoError: _on_mongo_error,
        TooManyGroups: _on_too_many_groups,
        ClientDisconnect: _on_disconnect,
    }


def _on_http_exception(request: Request[Any], error: HTTPException) -> Response:
    """Errors of the router. The message leaves out the path, which may hold a secret."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_response(request, NotFound(_NOT_SERVED))
    allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
    message = f"This path supports {', '.join(allowed)} only."
    response = error_response(request, MethodNotAllowed(message))
    response.headers.update(error.headers or {})
    return response


def _on_mongo_error(request: Request[Any], error: PyMongoError) -> Response:
    if isinstance(error, OperationFailure) and not error.timeout:
        # MongoDB is available and rejects the operation, so a retry does not help.
        return fault_response(request, error)
    log.error("mongo.unavailable", error=error)
    message = (
        "MongoDB does not answer. The request may or may not have been applied; retry shortly."
    )
    return error_response(request, Unavailable(message, retry_after_s=2))


def _on_too_many_groups(request: Request[Any], error: TooManyGroups) -> Response:
    return error_response(request, too_many_groups(error))


def too_many_groups(error: TooManyGroups) -> Unavailable:
    log.warning("sums.too_many_groups", error=error)
    return Unavailable(
        "Too much usage has not been rolled up yet to be summed by that many groups. Ask for fewer "
        "fields or a shorter period, or try again in a few minutes; docs/runbook.md#rolluplate "
        "has what keeps workers from it.",
        retry_after_s=60,
    )


def fault_response(request: Request[Any], error: Exception) -> Response:
    """Answers an unexpected exception; only the log has its details."""
    log.error("request.failed", error=error, exc_info=error)
    return error_response(
        request, AppError("The admin service failed to serve this request. Its log has the reason.")
    )


def _on_disconnect(_: Request[Any], __: Exception) -> Response:
    """The client has disconnected, so it never receives this."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)
