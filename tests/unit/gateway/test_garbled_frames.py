"""An event that is not JSON ends its stream with an error; odd but sound ones pass."""

import pytest

from libs.common.errors import UpstreamFailed
from services.gateway.formats import CHAT, MESSAGES, RESPONSES
from services.gateway.formats.base import Format, is_garbled
from tests.unit.gateway.streams import (
    chat_chunk,
    cut,
    data,
    messages_stream,
    relay,
    responses_stream,
)

STREAMS = {
    "chat": [data(chat_chunk("Hi")), data(chat_chunk("there")), b"data: [DONE]\n\n"],
    "messages": messages_stream(["Hi", "there"]),
    "responses": responses_stream(["Hi", "there"]),
}
GARBLED = (
    b'data: {"half": "\n\n',
    b"data: <html>\n\n",
    b"data: {]\r\n\r\n",
    b"event: x\ndata: nothing\n\n",
    b'data: {"a": 1} {"b"\n\n',
    b"data: \xff\xfe\n\n",
)
every_format = pytest.mark.parametrize(
    "client_format", [CHAT, MESSAGES, RESPONSES], ids=lambda row: row.name
)


@every_format
@pytest.mark.parametrize("garbled", GARBLED)
@pytest.mark.parametrize("places", [(), (3, 30, 60, 90), tuple(range(0, 400, 7))])
def test_a_garbled_event_ends_the_stream(
    client_format: Format, garbled: bytes, places: tuple[int, ...]
) -> None:
    before, after = STREAMS[client_format.name][:2], STREAMS[client_format.name][2:]
    request = client_format.decode(
        b'{"model": "m", "stream": true, "stream_options": {"include_usage": true}}'
    )

    result = relay(client_format, request, cut(b"".join([*before, garbled, *after]), list(places)))

    assert (result.status, result.error_code) == ("upstream_error", UpstreamFailed.code)
    assert result.usage_source == "estimated"
    error = client_format.error_frame(UpstreamFailed(""), "").partition(b"{")[0]
    assert result.body.startswith(b"".join(before) + error)
    assert b"cannot be read" in result.last_bytes
    assert garbled not in result.body


@pytest.mark.parametrize(
    "frame",
    [
        b": keep-alive\n\n",
        b"data: [DONE]\n\n",
        b"data:[DONE]\r\n\r\n",
        b"data:\n\n",
        b"event: ping\n\n",
        b'data: {"a": 1}\nid: 7\n\n',
        b'id: 7\rdata: {"a": 1}\r\r',
        b'data: {"a":\ndata: 1}\n\n',
        b'data: {"a": 1} \n\n',
        b'data: "text"\n\n',
    ],
)
def test_valid_frames_are_not_garbled(frame: bytes) -> None:
    assert not is_garbled(frame)
