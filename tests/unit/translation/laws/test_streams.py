"""A stream tells what the whole answer does, by the SDKs' own accumulators, and in any pieces."""

import asyncio
from itertools import cycle, pairwise, product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.answer import WholeAnswer
from services.gateway.upstream.translation.way_back import translated_answer
from tests.unit.translation.golden import player
from tests.unit.translation.laws.accumulators import put_together, same
from tests.unit.translation.laws.replies import BODIES, TARGETS, replies, streamed, whole_answer

FORMATS: tuple[ClientFormat, ...] = ("chat", "messages", "responses")
# Of each of the nine pairs.
few = settings(max_examples=max(5, settings().max_examples // 3))
PAIRS = list(product(FORMATS, FORMATS))
GIVEN = {name: player.given(name) for name in player.names()}
# Those whose call the provider answers well, in both ways.
SOUND = [
    name
    for name, call in GIVEN.items()
    if call.answered is not None
    and call.streamed is not None
    and call.answered.status == 200
    and "error" not in call.answered.body
]
STREAMED = [
    name
    for name in GIVEN
    if isinstance(msgspec.json.decode(player.text_of(name)).get("told_streamed"), list)
]


def call_of(client: ClientFormat, target: ClientFormat) -> player.Given:
    return player.Given(
        client=client, target=TARGETS[target][0], format=target, asked=BODIES[client]
    )


def received(call: player.Given, *chunks: bytes) -> bytes:
    translation = player.translation_of(call, stream=True)
    return asyncio.run(player.stream_of(translation, [b"", *chunks]))


@pytest.mark.parametrize(("client", "target"), PAIRS)
@few
@given(data=st.data())
def test_a_stream_makes_the_whole_answer(
    client: ClientFormat, target: ClientFormat, data: st.DataObject
) -> None:
    reply = data.draw(replies(target))
    call = call_of(client, target)
    answer = WholeAnswer(status=200, headers=[], body=whole_answer(target, reply))
    client_answer = translated_answer(player.translation_of(call), answer)
    assert client_answer.usage is not None
    stream = received(call, streamed(target, reply))
    assert put_together(client, stream) == same(client, client_answer.body)


@pytest.mark.parametrize("name", SOUND)
def test_a_golden_stream_makes_its_whole_answer(name: str) -> None:
    call = GIVEN[name]
    assert call.answered is not None
    assert call.streamed is not None
    client_answer = player.answer_of(player.translation_of(call), call.answered)
    stream = received(call, player.provider_bytes(call.format, call.streamed))
    assert put_together(call.client, stream) == same(call.client, client_answer.body)


def resent(stream: bytes, line_end: bytes, comment: bytes) -> bytes:
    """As a server with other line ends sends it, and one that sends comments."""
    with_comments = comment + stream.replace(b"\n\n", b"\n\n" + comment)
    return with_comments.replace(b"\n", line_end)


RESENT = [(b"\n", b""), (b"\r\n", b": ping\n\n"), (b"\r", b":\n")]


# Each conversation with one of them: what splits events knows nothing of conversations.
@pytest.mark.parametrize(("name", "marks"), list(zip(STREAMED, cycle(RESENT))))
def test_a_golden_stream_is_the_same_byte_by_byte(name: str, marks: tuple[bytes, bytes]) -> None:
    call = GIVEN[name]
    assert call.streamed is not None
    stream = player.provider_bytes(call.format, call.streamed)
    sent = resent(stream, *marks)
    assert received(call, *(sent[at : at + 1] for at in range(len(sent)))) == received(call, stream)


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The same stream, cut anywhere."""
    line_end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    sent = resent(stream, line_end, draw(st.sampled_from([b"", b": ping\n\n", b":\n"])))
    cuts = draw(st.lists(st.integers(0, len(sent)), max_size=12).map(sorted))
    return [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)])]


@pytest.mark.parametrize(("client", "target"), PAIRS)
@few
@given(data=st.data())
def test_a_stream_is_the_same_in_any_pieces(
    client: ClientFormat, target: ClientFormat, data: st.DataObject
) -> None:
    call = call_of(client, target)
    stream = streamed(target, data.draw(replies(target)))
    assert received(call, *data.draw(pieces(stream))) == received(call, stream)


def test_the_laws_have_conversations_to_hold_for() -> None:
    assert len(SOUND) > 40
    assert len(STREAMED) > 50
    kinds: dict[str, Any] = {name.partition("_")[0]: name for name in SOUND}
    assert {"text", "tools", "thinking", "limit", "search", "blocked"} <= kinds.keys()
