"""Errors in the shape of each format, as the SDKs parse them."""

import json

import pytest

from libs.common.errors import (
    AccountSuspended,
    AppError,
    BodyTooLarge,
    BudgetExceeded,
    Conflict,
    InvalidRequest,
    KeyRevoked,
    MethodNotAllowed,
    ModelNotFound,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimeout,
)
from services.gateway.endpoints.reply_headers import error_headers
from services.gateway.formats import CHAT, MESSAGES, RESPONSES, format_of_path


def refusal(status: int) -> UpstreamRefused:
    return UpstreamRefused("no", status=status, code="their_code", retry_after_s=7)


@pytest.mark.parametrize(
    ("error", "openai", "anthropic"),
    [
        (InvalidRequest("no"), (400, "invalid_request_error"), "invalid_request_error"),
        (Unauthenticated("no"), (401, "authentication_error"), "authentication_error"),
        (BudgetExceeded("no"), (429, "insufficient_quota"), "billing_error"),
        (AccountSuspended("no"), (403, "permission_error"), "permission_error"),
        (ModelNotFound("no"), (404, "invalid_request_error"), "not_found_error"),
        (MethodNotAllowed("no"), (405, "invalid_request_error"), "invalid_request_error"),
        (Conflict("no"), (409, "invalid_request_error"), "conflict_error"),
        (BodyTooLarge("no"), (413, "invalid_request_error"), "request_too_large"),
        (UnsupportedMediaType("no"), (415, "invalid_request_error"), "invalid_request_error"),
        (refusal(429), (429, "rate_limit_error"), "rate_limit_error"),
        (AppError("no"), (500, "api_error"), "api_error"),
        (UpstreamFailed("no"), (502, "api_error"), "api_error"),
        (Unavailable("no"), (503, "api_error"), "api_error"),
        (UpstreamTimeout("no"), (504, "api_error"), "timeout_error"),
        (refusal(529), (529, "api_error"), "overloaded_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AppError) else "",
)
def test_each_format_has_its_error_shape(
    error: AppError, openai: tuple[int, str], anthropic: str
) -> None:
    status, kind = openai
    code = "insufficient_quota" if kind == "insufficient_quota" else error.code
    fields = {"message": "no", "type": kind, "param": error.param, "code": code}

    for client_format in (CHAT, RESPONSES):
        answer = client_format.error(error, "id")
        assert (answer.status, json.loads(answer.body)) == (status, {"error": fields})
    answer = MESSAGES.error(error, "id")
    assert answer.status == error.status
    assert json.loads(answer.body) == {
        "type": "error",
        "error": {"type": anthropic, "message": "no"},
        "request_id": "id",
    }


@pytest.mark.parametrize(
    ("param", "message", "anthropic"),
    [
        ("n", "Too many answers.", "n: Too many answers."),
        ("tools[0].model", "No such model.", "tools[0].model: No such model."),
        ("model", "The model 'x' has no price.", "The model 'x' has no price."),
        ("input[0]", "input[0]: not found.", "input[0]: not found."),
        (None, "Not found.", "Not found."),
    ],
)
def test_every_format_names_the_invalid_field(
    param: str | None, message: str, anthropic: str
) -> None:
    error = InvalidRequest(message, param=param)
    openai = json.loads(CHAT.error(error, "id").body)["error"]
    assert (openai["message"], openai["param"]) == (message, param)
    assert json.loads(MESSAGES.error(error, "id").body)["error"]["message"] == anthropic


def test_each_format_has_its_stream_error() -> None:
    error = UpstreamFailed("no")

    chat = CHAT.error_frame(error, "id")
    messages = MESSAGES.error_frame(error, "id")
    responses = RESPONSES.error_frame(error, "id")

    assert chat == b"data: " + CHAT.error(error, "id").body + b"\n\n"
    assert messages == b"event: error\ndata: " + MESSAGES.error(error, "id").body + b"\n\n"
    name, data = responses.removesuffix(b"\n\n").split(b"\ndata: ")
    fields = json.loads(data)
    assert name == b"event: error"
    assert (fields["type"], fields["message"], fields["code"]) == (
        "error",
        "no",
        "upstream_unavailable",
    )
    assert fields["error"] == json.loads(CHAT.error(error, "id").body)["error"]
    assert isinstance(fields["sequence_number"], int)


@pytest.mark.parametrize(
    ("error", "retry", "after"),
    [
        (KeyRevoked("no"), b"false", None),
        (BudgetExceeded("no"), b"false", None),
        (Unavailable("no"), None, None),
        (InvalidRequest("no"), None, None),
        (refusal(429), None, b"7"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AppError) else "",
)
def test_headers_say_whether_to_retry(
    error: AppError, retry: bytes | None, after: bytes | None
) -> None:
    headers = dict(error_headers(error, "id", 5))

    assert headers.get(b"x-should-retry") == retry
    assert headers.get(b"retry-after") == after
    assert headers[b"x-request-id"] == headers[b"request-id"] == b"id"
    assert headers[b"content-length"] == b"5"
    assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize(
    ("path", "client_format"),
    [
        ("/v1/messages", MESSAGES),
        ("/v1/messages/count_tokens", MESSAGES),
        ("/v1/chat/completions", CHAT),
        ("/v1/responses", CHAT),
        ("/v1/nothing", CHAT),
        ("/", CHAT),
    ],
)
def test_the_path_decides_the_error_shape(path: str, client_format: object) -> None:
    assert format_of_path(path) is client_format
