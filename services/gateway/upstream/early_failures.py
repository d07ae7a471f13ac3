"""Errors that come under a status 200, before anything of an answer has.

Some providers answer so when they are overloaded. Nothing went to the client and nothing is
billed, so such an answer is a failed attempt.
"""

import re

import msgspec

from libs.common.decode_errors import UNREADABLE
from services.gateway.formats.base import ABSENT, NULL
from services.gateway.formats.sse import FrameSplitter, data_of
from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.translation.reply import ReportedError

_ERROR_MEMBER = re.compile(rb'"error"\s*:\s*[{"]')
# Before its answer's own members, a provider says little.
_SEARCHED_BYTES = 2_048
# As every answer of OpenAI's has at its beginning.
_NO_ERROR = b'"error":null'
_MAX_MESSAGE_CHARS = 4_000
_ERROR_TYPES = frozenset({"error", "response.failed"})


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _FailedResponse(msgspec.Struct, frozen=True):
    error: _Error | None = None


class _Body(msgspec.Struct, frozen=True):
    """What an error may come in; an answer has one of the last four."""

    error: _Error | str | None = None
    type: str = ""
    response: _FailedResponse | None = None
    message: str | dict[str, msgspec.Raw] | None = None
    code: str | int | None = None
    choices: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Body).decode


def failure_of_answer(answer: WholeAnswer) -> ReportedError | None:
    """Of one that holds an error and nothing else."""
    if answer.status != 200 or not _ERROR_MEMBER.search(answer.body, 0, _SEARCHED_BYTES):
        return None
    body = _decode_body(answer.body)
    if body is None:
        return None
    answer_members = (body.choices, body.content, body.output, body.data)
    if any(member not in (ABSENT, NULL) for member in answer_members):
        return None
    return _failure(body)


def failure_of_stream(stream: Stream) -> ReportedError | None:
    """Of one whose first event is an error, as far as it has come."""
    first_bytes = stream.first_bytes
    if first_bytes.count(b"error") == first_bytes.count(_NO_ERROR) and b"failed" not in first_bytes:
        return None
    for frame in FrameSplitter().feed(first_bytes):
        data = data_of(frame)
        if not data:
            continue  # A comment.
        body = _decode_body(data)
        if body is None or (body.error is None and body.type not in _ERROR_TYPES):
            return None
        return _failure(body)
    return None


def message_of(body: bytes) -> str:
    """An error's own words."""
    return _failure(_decode_body(body) or _Body()).message


def _decode_body(data: bytes) -> _Body | None:
    try:
        return _decode(data)
    except UNREADABLE:
        return None


def _failure(body: _Body) -> ReportedError:
    error = body.error
    if error is None and body.response is not None:
        error = body.response.error
    if isinstance(error, str):
        error = _Error(message=error)
    if error is None:
        message = body.message if isinstance(body.message, str) else ""
        error = _Error(message=message, code=body.code)
    status = error.code if isinstance(error.code, int) else None
    return ReportedError(
        message=error.message[:_MAX_MESSAGE_CHARS] or "The provider reported an error.",
        status=status,
        kind=error.type,
        code=error.code if isinstance(error.code, str) else None,
        param=error.param,
    )
