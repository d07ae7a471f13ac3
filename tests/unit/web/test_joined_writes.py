"""A whole response leaves in one write, and nothing else waits."""

from typing import cast
from unittest.mock import Mock

from libs.common.web.bounded_http import JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def joined() -> tuple[JoinedWrites, list[bytes]]:
    cycle, written = Mock(), cast("list[bytes]", [])
    cycle.transport.write.side_effect = written.append
    return JoinedWrites(cycle), written


def test_head_and_body_leave_in_one_write() -> None:
    writes, written = joined()
    writes.write(HEAD)
    assert written == []
    writes.write(b"ok")
    assert written == [HEAD + b"ok"]


def test_large_body_is_not_copied() -> None:
    writes, written = joined()
    body = bytes(1024 * 1024)
    writes.write(HEAD)
    writes.write(body)
    assert written == [HEAD, body]
    assert written[1] is body


def test_head_without_body_is_written_at_its_end() -> None:
    writes, written = joined()
    writes.write(HEAD)
    writes.write(b"")
    assert written == [HEAD]


def test_stream_does_not_wait() -> None:
    writes, written = joined()
    for data in (STREAM_HEAD, b"1\r\na\r\n", b"0\r\n\r\n"):
        writes.write(data)
    assert written == [STREAM_HEAD, b"1\r\na\r\n", b"0\r\n\r\n"]


def test_close_writes_the_head_that_waits() -> None:
    writes, written = joined()
    writes.write(HEAD)
    writes.close()
    assert written == [HEAD]


def test_the_rest_of_a_stream_is_written_to_the_connection() -> None:
    cycle = Mock()
    connection = cycle.transport
    cycle.transport = JoinedWrites(cycle)
    cycle.transport.write(STREAM_HEAD)
    assert cycle.transport is connection


def test_a_response_head_waits_for_its_body() -> None:
    cycle = Mock()
    written: list[bytes] = []
    connection = cycle.transport
    connection.write.side_effect = written.append
    joining = cycle.transport = JoinedWrites(cycle)
    cycle.transport.write(HEAD)
    assert cycle.transport is joining
    cycle.transport.write(b"ok")
    assert cycle.transport is connection
    assert written == [HEAD + b"ok"]
