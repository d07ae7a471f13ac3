"""Errors as problem documents (RFC 9457), and the kinds of them that the service answers.

A kind's URI is `/docs#CODE`: the service itself shows its list there.
"""

from http import HTTPStatus
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.errors import AppError, FieldError

MEDIA_TYPE = "application/problem+json"
# The most allowed names that a message lists.
_MAX_ALLOWED = 64


class ProblemKind(NamedTuple):
    """`title` says what happened, `way_out` what to do about it."""

    status: int
    title: str
    way_out: str


# By code, in the order of their statuses.
KINDS: dict[str, ProblemKind] = {
    "invalid_json": ProblemKind(
        400,
        "The body is not valid JSON",
        "Send one JSON object in UTF-8, without NaN, Infinity or lone surrogates.",
    ),
    "invalid_request": ProblemKind(
        400, "The request cannot be served as it is", "The detail says what to change."
    ),
    "invalid_api_key": ProblemKind(
        401,
        "The request has no valid admin key",
        "Send `Authorization: Bearer` with an admin key, such as the value of ADMIN_API_KEY.",
    ),
    "api_key_revoked": ProblemKind(
        401,
        "The admin key was revoked",
        "Ask an owner for another key; a revoked one stays revoked.",
    ),
    "api_key_expired": ProblemKind(
        401, "The admin key has expired", "Ask an owner for a new time, or for another key."
    ),
    "forbidden": ProblemKind(
        403,
        "The caller may not do this",
        "Ask an owner for a role that may, or for the account in your scope.",
    ),
    "not_found": ProblemKind(
        404,
        "Nothing has that name",
        "The list of its kind shows what there is.",
    ),
    "method_not_allowed": ProblemKind(
        405, "The path does not support the method", "The header `allow` lists those it supports."
    ),
    "not_acceptable": ProblemKind(
        406, "No format that the client accepts can be written", "Ask for one that is named."
    ),
    "request_timeout": ProblemKind(
        408, "The request did not arrive in time", "Repeat it on a new connection."
    ),
    "conflict": ProblemKind(
        409,
        "The change contradicts what is stored",
        "Read the object; then choose another name, or make the change from its present state.",
    ),
    "request_under_way": ProblemKind(
        409,
        "The first request with this Idempotency-Key has no answer yet",
        "Repeat it after the seconds of `retry-after`, and get its answer.",
    ),
    "precondition_failed": ProblemKind(
        412,
        "The object has changed since it was read",
        "Read it again and repeat the change with its new ETag in `if-match`.",
    ),
    "request_too_large": ProblemKind(
        413, "The body is too large", "Send less at a time; the detail names the bound."
    ),
    "unsupported_media_type": ProblemKind(
        415, "The content type of the body is not JSON", "Send `content-type: application/json`."
    ),
    "unsupported_content_encoding": ProblemKind(
        415, "The body is compressed", "Send it as it is, without `content-encoding`."
    ),
    "validation_failed": ProblemKind(
        422,
        "Fields of the request are wrong",
        "Every wrong field is in `errors` with its path, its problem and, where there are few, the "
        "allowed values.",
    ),
    "rate_limit_exceeded": ProblemKind(
        429, "Too many requests", "Wait for the seconds of `retry-after`, then go on more slowly."
    ),
    "request_head_too_large": ProblemKind(
        431, "The request's head is too large", "Send fewer or shorter header fields."
    ),
    "internal_error": ProblemKind(
        500,
        "The service failed",
        "Its log has the reason, by the request's id. A repeated write is safe with the same "
        "idempotency key.",
    ),
    "service_unavailable": ProblemKind(
        503,
        "MongoDB or Redis does not answer",
        "Repeat the request after the seconds of `retry-after`; it may have been applied.",
    ),
}


class WrongField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`field` is the path in the body (`limits.tokens_per_minute`, `budgets[0].period`), or the
    name of a parameter of the query or the path."""

    field: str
    detail: str
    allowed: tuple[str, ...] | UnsetType = UNSET


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """`type` leads to the description of `code`; `instance` and `request_id` name the request.

    `way_out` says what to do about a problem of this code.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str | None
    code: str
    request_id: str | None
    way_out: str | None
    errors: tuple[WrongField, ...] = ()


def problem_of(error: AppError, request_id: str | None) -> Problem:
    kind = KINDS.get(error.code)
    return Problem(
        type="about:blank" if kind is None else uri_of(error.code),
        title=HTTPStatus(error.status).phrase if kind is None else kind.title,
        status=error.status,
        detail=error.message,
        instance=None if request_id is None else f"urn:uuid:{request_id}",
        code=error.code,
        request_id=request_id,
        way_out=None if kind is None else kind.way_out,
        errors=tuple(map(_wrong, error.wrong_fields)),
    )


def _wrong(error: FieldError) -> WrongField:
    allowed = tuple(error.allowed[:_MAX_ALLOWED]) or UNSET
    return WrongField(field=error.field, detail=error.message, allowed=allowed)


def uri_of(code: str) -> str:
    return f"/docs#{code}"
