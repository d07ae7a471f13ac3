"""What is kept of one side of a call."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.schemas.recording import Transcript
from services.gateway.recordings.transcript import transcribe, without_attachments

SECRET = "sk-ant-api03-" + "Zy9_" * 20
LIMIT = 2_000


def transcript_of(text: bytes, *, size: int | None = None, stream: bool = False) -> Transcript:
    return transcribe(text, len(text) if size is None else size, LIMIT, stream=stream)


def test_a_short_side_is_kept_as_it_is() -> None:
    text = '{"messages": [{"content": "Grüß Gott"}]}'
    assert transcript_of(text.encode()) == Transcript(
        text=text, size=len(text.encode()), truncated=False
    )
    assert transcript_of(b"") == Transcript(text="", size=0)


def test_a_long_side_is_cut_between_words() -> None:
    text = b'{"content": "' + b"wording " * 1_000
    side = transcript_of(text)
    assert side.truncated
    assert side.size == len(text)
    assert side.text.endswith("wording ")
    assert LIMIT - 10 < len(side.text) <= LIMIT


def test_bytes_beyond_the_tape_count_as_missing() -> None:
    side = transcript_of(b'{"content": "one two thr', size=10_000)
    assert (side.text, side.size, side.truncated) == ('{"content": "one two ', 10_000, True)


def test_a_cut_leaves_no_part_of_a_secret() -> None:
    before = b'{"content": "' + b"x " * ((LIMIT - 13) // 2)
    for cut in range(1, len(SECRET)):
        text = before[: LIMIT - cut] + b'"' + SECRET.encode() + b" and more of it"
        side = transcript_of(text)
        assert side.truncated, cut
        assert "sk-" not in side.text, cut


def test_an_endless_word_is_cut() -> None:
    side = transcribe(b"x." * 50_000, 100_000, 50_000, stream=False)
    assert side.truncated
    assert 40_000 < len(side.text) <= 50_000


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (
            {"image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 500}},
            {"image_url": {"url": "data:image/png;base64,[5500-bytes]"}},
        ),
        (
            {"source": {"type": "base64", "data": "iVBORw0KGgo/+A==" * 500}},
            {"source": {"type": "base64", "data": "[base64:8000-bytes]"}},
        ),
        (
            {"text": "Look: ![it](data:image/png;base64," + "iVBO" * 500 + ")\nWell?"},
            {"text": "Look: ![it](data:image/png;base64,[2000-bytes])\nWell?"},
        ),
        ({"text": "long words " * 500}, {"text": "long words " * 500}),
        ({"text": "short"}, {"text": "short"}),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_attachments_are_replaced_by_their_length(content: Any, left: Any, depth: int) -> None:
    text = json.dumps({"before": 1, "content": content, "after": "a"})
    for _ in range(depth):
        text = json.dumps({"arguments": text})
    kept = without_attachments(text.encode()).decode()
    for _ in range(depth):
        kept = json.loads(kept)["arguments"]
    assert json.loads(kept) == {"before": 1, "content": left, "after": "a"}


def test_text_after_an_attachment_is_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 20_000}}
    text = json.dumps({"content": [image, {"type": "text", "text": "What is this?"}]}).encode()
    side = transcript_of(text)
    assert not side.truncated
    assert side.size == len(text)
    assert json.loads(side.text)["content"][1]["text"] == "What is this?"


def chat(text: str, **fields: Any) -> bytes:
    event = {"choices": [{"index": 0, "delta": {"content": text, **fields}}]}
    return f"data: {json.dumps(event)}\n\n".encode()


def frame_of(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def messages(text: str, field: str = "text") -> bytes:
    return frame_of("content_block_delta", index=1, delta={"type": f"{field}_delta", field: text})


def responses(text: str) -> bytes:
    return frame_of("response.output_text.delta", item_id="msg_1", content_index=0, delta=text)


def arguments(text: str) -> bytes:
    tools = [{"index": 0, "function": {"arguments": text}}]
    return chat("", tool_calls=tools)


PIECES = ["The key is ", "sk", "-ant-", *SECRET.removeprefix("sk-ant-"), ", keep", " it."]


@pytest.mark.parametrize("frame", [chat, messages, responses])
def test_a_secret_in_pieces_is_redacted(frame: Any) -> None:
    end = b"data: [DONE]\n\n"
    stream = b"".join(map(frame, PIECES)) + end
    side = transcribe(stream, len(stream), 10**6, stream=True)
    assert "The key is [redacted], keep it." in side.text
    assert "Zy" not in side.text
    assert '"sk"' not in side.text
    assert side.text.endswith("data: [DONE]\n\n")
    frames = side.text.encode().split(b"\n\n")
    assert len(frames) == len(PIECES) + 2


@pytest.mark.parametrize("frame", [chat, messages, responses])
def test_an_unfinished_secret_of_a_cut_stream_is_redacted(frame: Any) -> None:
    for pieces in range(1, len(PIECES)):
        stream = b"".join(map(frame, PIECES[:pieces])) + b"data: {"
        side = transcribe(stream, len(stream) + 1, 10**6, stream=True)
        assert json.dumps("The key is ")[:-1] in side.text, pieces
        assert '"sk"' not in side.text, pieces
        assert "-ant-" not in side.text, pieces
        assert "Zy" not in side.text, pieces


def test_heads_of_events_are_kept() -> None:
    frames = transcript_of(b"".join(map(messages, PIECES))).text.encode().split(b"\n\n")
    assert frames[0].partition(b"data: ")[0] == b"event: content_block_delta\n"


@pytest.mark.parametrize(
    "told",
    [
        lambda text: {"reasoning": text},
        lambda text: {"function_call": {"arguments": text}},
        lambda text: {"audio": {"id": "a", "transcript": text}},
        lambda text: {"tool_calls": [{"index": 0, "custom": {"input": text}}]},
    ],
)
def test_a_secret_in_pieces_is_redacted_in_every_field_of_a_chat(told: Any) -> None:
    stream = b"".join(chat("", **told(piece)) for piece in PIECES)
    side = transcribe(stream, len(stream), 10**6, stream=True)
    assert "The key is [redacted], keep it." in side.text
    assert "Zy" not in side.text
    assert '"sk"' not in side.text


def test_a_password_in_pieces_of_arguments_is_redacted() -> None:
    pieces = ['{"passw', 'ord": "hun', "ter", '2", "user": "me"}']
    for frame in (arguments, lambda text: messages(text, "partial_json")):
        stream = b"".join(map(frame, pieces))
        side = transcribe(stream, len(stream), 10**6, stream=True)
        assert "hun" not in side.text
        assert "ter2" not in side.text
        first = json.dumps('{"password": "[redacted]", "user": "me"}')
        assert first in side.text


def test_a_stream_without_secrets_is_kept_to_the_byte() -> None:
    stream = (
        b": keep-alive\r\n\r\nevent:  x\r\ndata:{ }\r\n\r\n" + chat("Hi") + b"data: {broken\n\nda"
    )
    assert transcript_of(stream, stream=True).text == stream.decode()


def test_texts_of_different_answers_are_not_mixed() -> None:
    def chunk(index: int, text: str) -> bytes:
        event = {"choices": [{"index": index, "delta": {"content": text}}]}
        return f"data: {json.dumps(event)}\n\n".encode()

    key = SECRET[:40]
    stream = chunk(0, key[:10]) + chunk(1, "Good ") + chunk(0, key[10:]) + chunk(1, "day")
    side = transcript_of(stream, stream=True).text
    assert "[redacted]" in side
    assert '"content": "Good "' in side
    assert '"content": "day"' in side
    assert key[10:] not in side


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 200))
def test_any_bytes_can_be_kept(raw: bytes, stream: bool, missing: int) -> None:
    side = transcribe(raw, len(raw) + missing, 100, stream=stream)
    assert side.size == len(raw) + missing
    assert side.truncated == (missing > 0 or len(raw) > 100)
