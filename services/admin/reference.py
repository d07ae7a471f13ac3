"""What the service's OpenAPI document says: the route table, and what all its endpoints share."""

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from libs.common.errors import (
    AppError,
    BodyTooLarge,
    Conflict,
    Forbidden,
    InvalidJSON,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    RateLimited,
    RequestTimeout,
    RequestUnderWay,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)
from libs.common.web.openapi import JSON, ApiOperation, OperationReply, Parameter, Service
from libs.common.web.reference import Appendix
from services.admin.endpoints import Endpoint
from services.admin.problems import KINDS, MEDIA_TYPE, Problem
from services.admin.validation import NoQuery

_ANY: tuple[type[AppError], ...] = (
    Unauthenticated, Forbidden, NotFound, ValidationFailed, RateLimited, AppError, Unavailable,
)  # fmt: skip
_WITH_BODY: tuple[type[AppError], ...] = (
    InvalidJSON, RequestTimeout, BodyTooLarge, UnsupportedMediaType,
)  # fmt: skip
_PATH_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
_DESCRIPTIONS = {200: "Done", 201: "Made", 202: "Ordered", 204: "Done, without an answer"}
_IF_MATCH = Parameter(
    name="if-match",
    place="header",
    description="The ETag that the change is based on: another revision is refused (412).",
)
_IDEMPOTENCY_KEY = Parameter(
    name="idempotency-key",
    place="header",
    description="A repeated request with the same key is answered again and does nothing again.",
    schema={"type": "string", "minLength": 1, "maxLength": 255},
)

APPENDIX: Appendix = (
    "Errors",
    [(code, f"{kind.status}: {kind.title}. {kind.way_out}") for code, kind in KINDS.items()],
)


def describe(endpoints: Sequence[Endpoint]) -> Service:
    return Service(
        title="Admin API",
        version="1",
        description=(
            "Accounts, keys, prices, routes, usage and the ledger of the gateway. Amounts are "
            "exact decimal numbers in USD, times RFC 3339. Errors are problem documents "
            "(RFC 9457); unknown fields and parameters are refused. "
            "Changes are merge patches (RFC 7396)."
        ),
        keys={"admin_key": {"type": "http", "scheme": "bearer"}},
        operations=[_operation(endpoint) for endpoint in endpoints],
    )


def _operation(endpoint: Endpoint) -> ApiOperation:
    role = "" if endpoint.role is None else f"\n\nNeeds the role {endpoint.role}."
    return ApiOperation(
        method=endpoint.method,
        path=endpoint.path,
        operation_id=endpoint.handler.__name__,
        summary=endpoint.summary,
        tag=endpoint.tag,
        description=(endpoint.handler.__doc__ or "") + role,
        parameters=list(_parameters(endpoint)),
        query=None if endpoint.query is NoQuery else endpoint.query,
        body=endpoint.body,
        replies=_answers(endpoint) | _errors(endpoint),
        keyed=endpoint.role is not None,
    )


def _parameters(endpoint: Endpoint) -> Iterator[Parameter]:
    for name, has_slashes in _PATH_PARAMETER.findall(endpoint.path):
        text = "It may have slashes, as `/` or `%2F`." if has_slashes else "Without slashes."
        yield Parameter(name=name, place="path", description=text)
    if PreconditionFailed in endpoint.errors:
        yield _IF_MATCH
    if endpoint.method == "POST":
        yield _IDEMPOTENCY_KEY


def _answers(endpoint: Endpoint) -> dict[int | str, OperationReply]:
    content: dict[str, Any] = {}
    if endpoint.answer is not None:
        content = {JSON: endpoint.answer}
    elif endpoint.statuses != (HTTPStatus.NO_CONTENT,):
        content = {endpoint.media: {} if endpoint.media == JSON else {"type": "string"}}
    content |= {media: {"type": "string"} for media in endpoint.also}
    headers = {"etag": "Its revision, for `if-match`"} if _is_revised(endpoint) else {}
    return {
        status: OperationReply(
            description=_DESCRIPTIONS.get(status, "It cannot work"),
            content=content,
            headers=headers,
        )
        for status in endpoint.statuses
    }


def _is_revised(endpoint: Endpoint) -> bool:
    return PreconditionFailed in endpoint.errors and 204 not in endpoint.statuses


def _has_cursor(endpoint: Endpoint) -> bool:
    structs = (endpoint.query, endpoint.body)
    return any(struct and "cursor" in struct.__struct_fields__ for struct in structs)


def _errors(endpoint: Endpoint) -> dict[int | str, OperationReply]:
    if endpoint.role is None:
        return {}
    errors = {*_ANY, *endpoint.errors}
    if _has_cursor(endpoint):
        errors.add(InvalidRequest)
    if endpoint.body is not None:
        errors |= {*_WITH_BODY}
    if endpoint.method == "POST":
        errors |= {Conflict, RequestUnderWay}
    titles: dict[int, list[str]] = {}
    for code, kind in KINDS.items():
        if code in {error.code for error in errors}:
            titles.setdefault(kind.status, []).append(f"{kind.title} (`{code}`)")
    return {
        status: OperationReply(description="; ".join(texts), content={MEDIA_TYPE: Problem})
        for status, texts in titles.items()
    }
