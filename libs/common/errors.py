"""The error tree: every failure that a client may see, with its HTTP status and stable code.

The formats (`services.gateway.formats`, `libs.common.web`) write the errors. Codes are part of the
public contract and never change meaning.

    AppError 500
        InvalidRequest 400
            InvalidJSON 400
            ModelUnpriced 400
            UnsupportedField 400
        Unauthenticated 401
            KeyExpired 401
            KeyRevoked 401
        BudgetExceeded 402
        Forbidden 403
            AccountSuspended 403
            ModelNotAllowed 403
            ObjectNotAllowed 403
        NotFound 404
            ModelNotFound 404
            ThreadNotFound 404
        MethodNotAllowed 405
        NotAcceptable 406
        RequestTimeout 408
        ResponseUnread 408
        Conflict 409
            RequestUnderWay 409
        PreconditionFailed 412
        BodyTooLarge 413
        UnsupportedMediaType 415
            UnsupportedContentCoding 415
        ValidationFailed 422
        UpgradeRequired 426
        RateLimited 429
            BodiesTooLarge 429
            TooManyTokens 429
        HeadTooLarge 431
        UpstreamRefused the provider's
            QuotaExhausted 402
        UpstreamFailed 502
            AnswerBroken 502
                CallMalformed 502
            ProviderNotConfigured 503
            UpstreamTimeout 504
        Unavailable 503
            AnswerWithheld 503
            NoConnection 503
            NothingRecordable 503
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

_MAX_CAUSES = 10


class FieldError(Exception):
    """One invalid field of a request; `allowed` are its values where these are few."""

    def __init__(self, field: str, message: str, *, allowed: Sequence[str] = ()) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.allowed = allowed


class AppError(Exception):
    """A failure with a message that says what happened and what to do about it."""

    status: int = 500
    code: str = "internal_error"
    # The value of `x-should-retry`; None leaves the SDKs to their own rule for the status.
    should_retry: bool | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    @property
    def wrong_fields(self) -> Sequence[FieldError]:
        """The fields that are wrong, as far as it is about any."""
        return () if self.param is None else (FieldError(self.param, self.message),)


class InvalidRequest(AppError):
    status = 400
    code = "invalid_request"


class InvalidJSON(InvalidRequest):
    code = "invalid_json"


class ModelUnpriced(InvalidRequest):
    """P6: no call is free by accident, so a model without a price is not called."""

    code = "model_not_priced"


class UnsupportedField(InvalidRequest):
    """The model's provider lacks this part, item, field or option; `param` names it."""

    code = "unsupported_field"


class Unauthenticated(AppError):
    status = 401
    code = "invalid_api_key"
    should_retry = False


class KeyRevoked(Unauthenticated):
    code = "api_key_revoked"


class KeyExpired(Unauthenticated):
    code = "api_key_expired"


class BudgetExceeded(AppError):
    """A budget outlasts any backoff, so the SDKs must not retry."""

    status = 402
    code = "budget_exceeded"
    should_retry = False


class Forbidden(AppError):
    status = 403
    code = "forbidden"


class AccountSuspended(Forbidden):
    code = "account_suspended"


class ModelNotAllowed(Forbidden):
    code = "model_not_allowed"


class ObjectNotAllowed(Forbidden):
    """The call names an object of the operator's at the provider. An administrator can allow it."""

    code = "provider_object_not_allowed"
    should_retry = False


class NotFound(AppError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class ThreadNotFound(NotFound):
    """SDKs that keep a thread send its whole history instead."""

    code = "thread_not_found"


class MethodNotAllowed(AppError):
    status = 405
    code = "method_not_allowed"


class NotAcceptable(AppError):
    """None of the formats that the client accepts can be written."""

    status = 406
    code = "not_acceptable"


class RequestTimeout(AppError):
    """The request, or a part of it, did not arrive in time."""

    status = 408
    code = "request_timeout"


class Conflict(AppError):
    status = 409
    code = "conflict"
    should_retry = False


class RequestUnderWay(Conflict):
    """The first request with this `Idempotency-Key` has no answer yet. A retry gets it."""

    code = "request_under_way"
    should_retry = True


class PreconditionFailed(AppError):
    """`If-Match` names another revision than the one that is stored."""

    status = 412
    code = "precondition_failed"
    should_retry = False


class BodyTooLarge(AppError):
    status = 413
    code = "request_too_large"


class UnsupportedMediaType(AppError):
    status = 415
    code = "unsupported_media_type"


class UnsupportedContentCoding(UnsupportedMediaType):
    """The body is compressed with a coding that the gateway does not decode."""

    code = "unsupported_content_encoding"


class ValidationFailed(AppError):
    """Names every field that is wrong."""

    status = 422
    code = "validation_failed"

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self._errors = tuple(errors)

    @property
    def wrong_fields(self) -> Sequence[FieldError]:
        return self._errors


class UpgradeRequired(AppError):
    """The client asked for a protocol that is not served; it can fall back to plain HTTP."""

    status = 426
    code = "websocket_not_supported"


class HeadTooLarge(AppError):
    status = 431
    code = "request_head_too_large"
    should_retry = False


class RateLimit(NamedTuple):
    """One limit of a minute, what is left of it, and when the oldest call leaves the minute."""

    kind: Literal["requests", "tokens"]
    limit: int
    left: int
    reset_ms: int


class RateLimited(AppError):
    """A retry after `retry_after_s` seconds can succeed. `limits` are the minute's, if known."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        limits: tuple[RateLimit, ...] = (),
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.limits = limits


class TooManyTokens(RateLimited):
    """The call alone exceeds the limit, so no retry can succeed."""

    code = "tokens_per_minute_too_low"
    should_retry = False


class BodiesTooLarge(RateLimited):
    """The account has too many large requests open; each alone would be served."""

    code = "request_memory_exceeded"


# No connection could be made, or the translation of the request or its answer failed.
UpstreamCause = Literal["unreachable", "translation"]


class UpstreamFailed(AppError):
    """The provider could not be reached, or its answer cannot be used.

    `cause`, if known, helps the dispatcher to choose the next try.
    """

    status = 502
    code = "upstream_unavailable"

    def __init__(
        self, message: str, *, param: str | None = None, cause: UpstreamCause | None = None
    ) -> None:
        super().__init__(message, param=param)
        self.cause = cause


class AnswerBroken(UpstreamFailed):
    """The provider charges for an answer that the client cannot get. The call is not retried."""

    code = "upstream_unreadable"
    should_retry = False


class CallMalformed(AnswerBroken):
    """The model called a tool in a form that its provider could not parse."""

    code = "upstream_malformed_call"


class ProviderNotConfigured(UpstreamFailed):
    """The gateway lacks the credential that the deployment needs."""

    status = 503
    code = "provider_not_configured"


class UpstreamRefused(AppError):
    """The provider answered with an error. The client gets the provider's message."""

    code = "upstream_refused"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None,
        retry_after_s: int | None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.status = status
        if code is not None:
            self.code = code


class QuotaExhausted(UpstreamRefused):
    """The provider's own credit is used up, so no retry can succeed."""

    status = 402
    code = "insufficient_quota"
    should_retry = False

    def __init__(self, message: str) -> None:
        super().__init__(message, status=402, code=None, retry_after_s=None)


class UpstreamTimeout(UpstreamFailed):
    status = 504
    code = "upstream_timeout"


class ResponseUnread(AppError):
    """The client did not read its response in time. Only a late reader of a stream sees it."""

    status = 408
    code = "response_unread"


class Unavailable(AppError):
    """MongoDB or Redis cannot be reached, or the process is shutting down."""

    status = 503
    code = "service_unavailable"


class NoConnection(Unavailable):
    """All connections to providers that the call may use are in use."""

    code = "no_upstream_connection"


class NothingRecordable(Unavailable):
    """Neither Redis nor the spool accepts writes, so the call is not made. The client may retry."""

    code = "usage_not_recordable"


class AnswerWithheld(Unavailable):
    """The provider has answered, so a retry would be charged as another call."""

    code = "answer_withheld"
    should_retry = False


def release_frames(error: BaseException) -> None:
    """Frees what the functions held that the error came through; call this once it is handled.

    An error that one of them has in a variable forms a cycle with its traceback, which would keep
    the call's body until the next collection.
    """
    link: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if link is None:
            return
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
