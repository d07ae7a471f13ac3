"""Errors that come under a status 200."""

from collections.abc import AsyncGenerator

import pytest

from services.gateway.upstream.answer import Stream, WholeAnswer
from services.gateway.upstream.early_failures import (
    failure_of_answer,
    failure_of_stream,
    message_of,
)
from services.gateway.upstream.translation.reply import ReportedError


async def nothing() -> AsyncGenerator[bytes, None]:
    chunks: list[bytes] = []
    for chunk in chunks:
        yield chunk


async def close() -> None: ...


def stream(first_bytes: bytes) -> Stream:
    return Stream(headers=[], chunks=nothing(), close=close, first_bytes=first_bytes)


OVERLOADED = ReportedError(message="busy", kind="overloaded_error")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error":{"type":"overloaded_error","message":"busy"}}', OVERLOADED),
        (b'{"type":"error", "error" : {"type":"overloaded_error","message":"busy"}}', OVERLOADED),
        (b'{"error":"busy"}', ReportedError(message="busy")),
        (b'{"error":{"code":429,"message":"slow"}}', ReportedError(message="slow", status=429)),
        (b'{"error":{}}', ReportedError(message="The provider reported an error.")),
        # An answer that has an error beside what it says is one.
        (b'{"choices":[],"error":{"message":"busy"}}', None),
        (b'{"choices":null,"error":{"message":"busy"}}', ReportedError(message="busy")),
        (b'{"status":"failed","error":{"code":"x","message":"m"},"output":[]}', None),
        (b'{"error":null,"output":[]}', None),
        (b'{"error": {"message"', None),
        (b"<html>", None),
    ],
)
def test_an_answer_that_holds_an_error_and_nothing_else(
    body: bytes, found: ReportedError | None
) -> None:
    assert failure_of_answer(WholeAnswer(status=200, headers=[], body=body)) == found


def test_other_statuses_speak_for_themselves() -> None:
    assert failure_of_answer(WholeAnswer(status=500, headers=[], body=b'{"error":{}}')) is None


@pytest.mark.parametrize(
    ("first_bytes", "found"),
    [
        (b'data: {"error":{"type":"overloaded_error","message":"busy"}}\n\n', OVERLOADED),
        (
            b': ping\n\nevent: error\ndata: {"type":"error",'
            b'"error":{"type":"overloaded_error","message":"busy"}}\n\n',
            OVERLOADED,
        ),
        (
            b'event: error\ndata: {"type":"error","code":"server_error","message":"m"}\n\n',
            ReportedError(message="m", code="server_error"),
        ),
        (
            b'event: response.failed\ndata: {"type":"response.failed",'
            b'"response":{"error":{"code":"server_error","message":"m"}}}\n\n',
            ReportedError(message="m", code="server_error"),
        ),
        # Said after the stream began, or as a part of what it says.
        (b'data: {"choices":[]}\n\ndata: {"error":{"message":"busy"}}\n\n', None),
        (b'data: {"choices":[{"delta":{"content":"error"}}]}\n\n', None),
        # Cut before the event's end: more is coming.
        (b'data: {"error":{"message":"bu', None),
        (b"", None),
    ],
)
def test_a_stream_whose_first_event_is_an_error(
    first_bytes: bytes, found: ReportedError | None
) -> None:
    assert failure_of_stream(stream(first_bytes)) == found


def test_an_error_s_words_are_found_whatever_holds_them() -> None:
    assert message_of(b'{"error":{"message":"m"}}') == "m"
    assert message_of(b"no JSON") == "The provider reported an error."
