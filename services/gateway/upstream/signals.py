"""What makes clients behave: statuses and headers by which their SDKs retry, wait or stop.

A provider's error is passed on with its own words. Its status and its headers change only where
clients of the format would act against their interest: OpenAI's know no 402, and send a whole
prompt six times over a 413 or 422; a 429 without `retry-after` makes some of them stop at once,
and one of hours makes others wait.
"""

from math import ceil

import msgspec

from libs.common.errors import AppError, QuotaExhausted, UpstreamRefused
from services.gateway.calls.headers import Header
from services.gateway.formats.base import Format
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.early_failures import message_of
from services.gateway.upstream.translation.failures import is_out_of_credit
from services.gateway.upstream.verdict import retry_after_s

_TOO_MANY_REQUESTS = 429
_PAYMENT_REQUIRED = 402
_BAD_REQUEST = 400
_PAUSES = frozenset({b"retry-after", b"retry-after-ms"})
_NO_RETRY: Header = (b"x-should-retry", b"false")
# Of a provider that does not say how long it wants to be left alone.
_PAUSE_S = 5
_MAX_PAUSE_S = 60


def with_signals(answer: WholeAnswer, client_format: Format, now_s: float) -> WholeAnswer:
    """A provider's answer as the clients of the format understand it; `now_s` is Unix time.

    Raises QuotaExhausted for OpenAI's formats, whose word for that is a code.
    """
    status = answer.status
    if status < _BAD_REQUEST:
        return answer
    if status in client_format.unknown_statuses:
        if status == _PAYMENT_REQUIRED:
            raise QuotaExhausted(message_of(answer.body))
        return msgspec.structs.replace(answer, status=_BAD_REQUEST)
    if status not in (_TOO_MANY_REQUESTS, _PAYMENT_REQUIRED):
        return answer
    headers = [header for header in answer.headers if header[0] not in _PAUSES]
    pause_s = retry_after_s(answer, now_s)
    pause_s = _PAUSE_S if pause_s is None else pause_s
    if status == _PAYMENT_REQUIRED or pause_s > _MAX_PAUSE_S or is_out_of_credit(answer.body):
        headers = [header for header in headers if header[0] != _NO_RETRY[0]]
        headers.append(_NO_RETRY)
    else:
        headers.append((b"retry-after", b"%d" % ceil(pause_s)))
    return msgspec.structs.replace(answer, headers=headers)


def error_with_signals(error: AppError, client_format: Format) -> AppError:
    """The error of a translated answer as the clients of the format understand it."""
    if not isinstance(error, UpstreamRefused) or isinstance(error, QuotaExhausted):
        return error
    if error.status in client_format.unknown_statuses:
        if error.status == _PAYMENT_REQUIRED:
            return QuotaExhausted(error.message)
        error.status = _BAD_REQUEST
    if error.status != _TOO_MANY_REQUESTS:
        return error
    if error.retry_after_s is None:
        error.retry_after_s = _PAUSE_S
    elif error.retry_after_s > _MAX_PAUSE_S:
        error.retry_after_s, error.should_retry = None, False
    return error
