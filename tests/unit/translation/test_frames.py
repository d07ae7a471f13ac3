"""Frames as servers send them, whole characters and halves."""

import msgspec
import pytest

from libs.common.errors import UpstreamFailed
from services.gateway.upstream.translation.frames import FrameDecoder


class _Event(msgspec.Struct):
    text: str = ""


def text_of(*frames: bytes) -> str:
    reader = FrameDecoder(msgspec.json.Decoder(_Event))
    events = [reader.read(frame) for frame in frames]
    return "".join(event.text for event in events if event is not None)


def data(text: bytes) -> bytes:
    return b'data: {"text":"%b"}\n\n' % text


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ((data(b"a"), data(b"b")), "ab"),
        ((b'event: x\r\ndata:{"text":"a"}\r\n\r\n',), "a"),
        ((b'data: {"text":\ndata: "a"}\n\n',), "a"),
        ((b'data: {"text":"a"}\nid: 7\n\n',), "a"),
        ((b": ping\n\n", b"event: x\n\n", data(b"a")), "a"),
        ((data(rb"\ud83d\ude00"),), "\U0001f600"),
        ((data(rb"a\ud83d"), data(rb"\ude00b")), "a\U0001f600b"),
        ((data(rb"\uD83D"), b": ping\n\n", b'data: {"x":1}\n\n', data(rb"\uDE00")), "\U0001f600"),
        ((data(rb"\ud83d"), data(rb"\ude00\ud83d"), data(rb"\ude01")), "\U0001f600\U0001f601"),
        ((data(rb"\ud83d"), data(b"b")), "\ufffdb"),
        ((data(rb"\ud83d"), data(rb"\ud83d"), data(rb"\ude00")), "\ufffd\U0001f600"),
        ((data(rb"\ude00"),), "\ufffd"),
        ((data(rb"\ud83db"),), "\ufffdb"),
        ((data(rb"\\ud83d\n"), data(rb"\\ude00")), "\\ud83d\n\\ude00"),
    ],
)
def test_text(frames: tuple[bytes, ...], text: str) -> None:
    assert text_of(*frames) == text


@pytest.mark.parametrize("frame", [b"data: {\n\n", b'data: {"text":1}\n\n', b"data: nonsense\n\n"])
def test_an_unreadable_frame_fails(frame: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="an event that cannot be read"):
        text_of(frame)


def test_the_fault_is_shown_to_the_operator_alone() -> None:
    with pytest.raises(UpstreamFailed) as raised:
        text_of(b'data: {"text":1}\n\n')
    assert str(raised.value) == "The provider's stream has an event that cannot be read."
    assert "`$.text`" in str(raised.value.__cause__)
