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


class _Failed(msgspec.Struct, frozen=True):
    error: _Error | None = None


class _Said(msgspec.Struct, frozen=True):
    """What an error may come in; an answer has one of the last four."""

    error: _Error | str | None = None
    type: str = ""
    response: _Failed | None = None
    message: str | dict[str, msgspec.Raw] | None = None
    code: str | int | None = None
    choices: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Said).decode


def failure_of_answer(answer: WholeAnswer) -> ReportedError | None:
    """Of one that holds an error and nothing else."""
    if answer.status != 200 or not _ERROR_MEMBER.search(answer.body, 0, _SEARCHED_BYTES):
        return None
    said = _said(answer.body)
    if said is None:
        return None
    answered = (said.choices, said.content, said.output, said.data)
    if any(member not in (ABSENT, NULL) for member in answered):
        return None
    return _failure(said)


def failure_of_stream(stream: Stream) -> ReportedError | None:
    """Of one whose first event is an error, as far as it has come."""
    begun = stream.begun
    if begun.count(b"error") == begun.count(_NO_ERROR) and b"failed" not in begun:
        return None
    for frame in FrameSplitter().feed(begun):
        data = data_of(frame)
        if not data:
            continue  # A comment.
        said = _said(data)
        if said is None or (said.error is None and said.type not in _ERROR_TYPES):
            return None
        return _failure(said)
    return None


def message_of(body: bytes) -> str:
    """An error's own words."""
    return _failure(_said(body) or _Said()).message


def _said(data: bytes) -> _Said | None:
    try:
        return _decode(data)
    except UNREADABLE:
        return None


def _failure(said: _Said) -> ReportedError:
    error = said.error
    if error is None and said.response is not None:
        error = said.response.error
    if isinstance(error, str):
        error = _Error(message=error)
    if error is None:
        message = said.message if isinstance(said.message, str) else ""
        error = _Error(message=message, code=said.code)
    status = error.code if isinstance(error.code, int) else None
    return ReportedError(
        message=error.message[:_MAX_MESSAGE_CHARS] or "The provider reported an error.",
        status=status,
        kind=error.type,
        code=error.code if isinstance(error.code, str) else None,
        param=error.param,
    )
