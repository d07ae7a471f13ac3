"""Failures in a command's words: the fault, the fields, and the remedy."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gatewayctl.errors import CommandError, Failed, Misused, Refused
from gatewayctl.profiles import Connection

if TYPE_CHECKING:
    import httpx

_MEDIA_TYPE = "application/problem+json"
_INVALID = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
# What router and proxies answer of a path that this version of the service does not have.
_UNKNOWN_PATH = "There is nothing at this path"


def problem_error(
    response: "httpx.Response", content: Any, connection: Connection
) -> CommandError | None:
    """None where the answer is not a problem document, or is about the path itself."""
    media = response.headers.get("content-type", "").partition(";")[0].strip()
    if media != _MEDIA_TYPE or not isinstance(content, dict):
        return None
    detail = str(content.get("detail", ""))
    status = response.status_code
    if status == HTTPStatus.METHOD_NOT_ALLOWED or (
        status == HTTPStatus.NOT_FOUND and detail.startswith(_UNKNOWN_PATH)
    ):
        return None
    errors = [error for error in content.get("errors", ()) if isinstance(error, dict)]
    # The detail and the way out of wrong fields say that they are listed.
    listed = bool(errors) and status == HTTPStatus.UNPROCESSABLE_ENTITY
    details = [_wrong_field(error) for error in errors if listed or error.get("detail") != detail]
    message = f"{content.get('title') if listed else detail} ({status} {content.get('code')})"
    way_out = None if listed else content.get("way_out")
    if status in _INVALID:
        return Misused(message, details=details, way_out=way_out)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        details.append(f"request {content.get('request_id')} at {connection.url}")
        return Failed(message, details=details, way_out=way_out)
    if status == HTTPStatus.UNAUTHORIZED:
        details.append(f"the key of {connection.source} at {connection.url}")
        way_out = "gatewayctl login, with a key that is valid there"
    return Refused(
        message, details=details, way_out=way_out, status=status, code=content.get("code")
    )


def _wrong_field(error: dict[str, Any]) -> str:
    allowed = error.get("allowed") or ()
    text = f"{error.get('field')}: {error.get('detail')}"
    return f"{text} (allowed: {', '.join(map(str, allowed))})" if allowed else text


def failed_request(error: "httpx.HTTPError", connection: Connection, *, key: str | None) -> Failed:
    """For a request that has no answer, or half a one."""
    import httpx

    address = f"{connection.url} ({connection.source})"
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return Failed(
            f"Nothing answers at {address}: {error}",
            way_out="check the address and that the admin service runs; gatewayctl login sets both",
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return Failed(f"{address} is not an address: {error}")
    details = []
    if key is not None:
        details.append(
            f"it may have been done; to make sure, repeat it with --idempotency-key {key}"
        )
    reason = str(error) or type(error).__name__
    return Failed(f"{address} broke off: {reason}", details=details)
