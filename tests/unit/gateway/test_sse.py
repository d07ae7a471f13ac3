"""Frames: any split of the same bytes gives the same frames, and no byte is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import UpstreamFailed
from services.gateway.formats.base import type_of
from services.gateway.formats.sse import MAX_FRAME_BYTES, FrameSplitter, data_of, frame
from tests.unit.gateway.streams import cut


def split(reads: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = FrameSplitter()
    frames = [frame for read in reads for frame in splitter.feed(read)]
    return frames, splitter.rest()


@given(
    body=st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"data: x", b": c"])).map(b"".join),
    places=st.lists(st.integers(0, 500)),
)
def test_frames_do_not_depend_on_how_reads_split(body: bytes, places: list[int]) -> None:
    frames, rest = split(cut(body, places))

    assert (frames, rest) == split([body])
    assert b"".join(frames) + rest == body
    assert b"\n\n" not in rest
    assert b"\r\n\r\n" not in rest


@pytest.mark.parametrize("blank", [b"\n\n", b"\r\n\r\n"])
def test_a_blank_line_ends_a_frame(blank: bytes) -> None:
    one, two = b"event: a" + blank, b"data: b" + blank

    assert split([one + two + b"data: c"]) == ([one, two], b"data: c")


def test_an_endless_frame_is_rejected() -> None:
    splitter = FrameSplitter()
    splitter.feed(b"x" * MAX_FRAME_BYTES)

    with pytest.raises(UpstreamFailed, match="too large"):
        splitter.feed(b"x")


@pytest.mark.parametrize(
    ("written", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\r\n\r\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"event: e\ndata: x\nid: 1\n\n", b"x"),
        (b"data: x\ndata: y\n\n", b"x\ny"),
        (b": comment\n\n", b""),
        (b"event: data: x\n\n", b""),
    ],
)
def test_data_of_a_frame(written: bytes, data: bytes) -> None:
    assert data_of(written) == data


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        (b'event: ping\ndata: {"type": "pong"}\n\n', b"ping"),
        (b"event:ping\r\ndata: {}\r\n\r\n", b"ping"),
        (b'data: {"type": "ping"}\n\n', b"ping"),
        (b': hello\nevent: x\ndata: {"type": "ping"}\n\n', b"ping"),
        (b'data: {"delta": {"type": "ping"}}\n\n', b""),
        (b'data: ["ping"]\n\n', b""),
        (b'data: {"type": "\xff"}\n\n', b""),
        (b'data: {"x": ' + b"[" * 100_000 + b"\n\n", b""),
        (b": ping\n\n", b""),
    ],
    ids=range(9),
)
def test_type_of_a_frame(written: bytes, kind: bytes) -> None:
    assert type_of(written) == kind


def test_a_frame_is_written_with_and_without_a_name() -> None:
    assert frame(b"{}") == b"data: {}\n\n"
    assert frame(b"{}", event="error") == b"event: error\ndata: {}\n\n"
