"""Parts come out one after the other, each whole, however they were interleaved."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import MAX_KEPT_BYTES
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import ReportedError, Stop
from services.gateway.upstream.translation.sequencer import Sequencer

Part = tuple[str, str]


class Parts:
    """Puts together what a writer would have been told, and fails where a part is opened twice."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, list[str]]] = []
        self.stops: list[Stop] = []
        self.failures: list[ReportedError] = []
        self._begun: set[str] = set()

    def _add(self, name: str, delta: str) -> None:
        if not self.parts or self.parts[-1][0] != name:
            if name.startswith("call"):
                assert name not in self._begun
            self._begun.add(name)
            self.parts.append((name, []))
        self.parts[-1][1].append(delta)

    def started(self, answer_id: str, model: str, created: int | None) -> None: ...

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        self._add("text", delta)

    def refusal(self, delta: str) -> None:
        self._add("refusal", delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        self._add("thinking", delta)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        self._add("sign", signature.data)

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        self._add(f"call {call_id} {name}", delta)

    def cite(self, citation: msgspec.Raw, family: str) -> None: ...

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None: ...

    def ended(self) -> None: ...

    def usage(self, usage: TokenUsage) -> None: ...

    def stop(self, stop: Stop) -> None:
        self.stops.append(stop)

    def failed(self, failure: ReportedError) -> None:
        self.failures.append(failure)

    def texts(self) -> list[Part]:
        return [(name, "".join(deltas)) for name, deltas in self.parts]


END = Stop(kind="end")


def call(sequencer: Sequencer, key: int, delta: str, *, is_freeform: bool = False) -> None:
    sequencer.call(key, f"c{key}", f"f{key}", delta, is_freeform)


def test_a_stream_that_sends_one_part_after_the_other_passes_delta_by_delta() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    sequencer.text("a")
    sequencer.text("b")
    call(sequencer, 0, '{"x"')
    call(sequencer, 0, ":1}")
    call(sequencer, 1, "{}")
    assert parts.parts == [
        ("text", ["a", "b"]),
        ("call c0 f0", ['{"x"', ":1}"]),
        ("call c1 f1", ["{}"]),
    ]


def test_interleaved_calls_come_out_whole_and_in_the_order_they_began() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    call(sequencer, 0, "")
    call(sequencer, 1, "")
    call(sequencer, 0, '{"a":')
    call(sequencer, 1, '{"b":2}')
    sequencer.text("said between")
    call(sequencer, 0, "1}")
    sequencer.stop(END)
    assert parts.texts() == [
        ("call c0 f0", '{"a":1}'),
        ("call c1 f1", '{"b":2}'),
        ("text", "said between"),
    ]
    assert parts.stops == [END]


def test_a_call_without_arguments_is_not_taken_for_whole() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    call(sequencer, 0, "")
    sequencer.text("t")
    call(sequencer, 0, '{"late":1}')
    sequencer.stop(END)
    assert parts.texts() == [("call c0 f0", '{"late":1}'), ("text", "t")]


def test_a_freeform_call_ends_where_another_part_begins_and_may_not_go_on() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    call(sequencer, 0, "abc", is_freeform=True)
    sequencer.text("t")
    assert parts.texts() == [("call c0 f0", "abc"), ("text", "t")]
    call(sequencer, 0, "def", is_freeform=True)
    assert [failure.code for failure in parts.failures] == ["upstream_unreadable"]


def test_waiting_parts_are_bounded() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    call(sequencer, 0, "{")
    for _ in range(5):
        sequencer.text("x" * (MAX_KEPT_BYTES // 4))
    sequencer.stop(END)
    assert len(parts.failures) == 1
    assert parts.stops == []


def test_so_is_the_number_of_calls() -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    for key in range(300):
        call(sequencer, key, "{}")
    assert len(parts.failures) == 1


def test_a_failure_is_written_once_in_the_words_of_the_client() -> None:
    parts = Parts()
    sequencer = Sequencer(parts, lambda failure: ReportedError(message=failure.message.upper()))
    sequencer.failed(ReportedError(message="one"))
    sequencer.failed(ReportedError(message="two"))
    assert parts.failures == [ReportedError(message="ONE")]


@st.composite
def interleavings(draw: st.DrawFn) -> list[tuple[int, str]]:
    """Deltas of calls, each call's in order, the calls' mixed."""
    waiting: list[Iterator[str]] = []
    for size in draw(st.lists(st.integers(0, 3), min_size=1, max_size=5)):
        text = json.dumps({f"k{n}": {"v": "}{"} for n in range(size)})
        cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
        bounds = [0, *cuts, len(text)]
        pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
        waiting.append(iter(pieces))
    order: list[tuple[int, str]] = []
    remaining: dict[int, Any] = dict(enumerate(waiting))
    while remaining:
        key = draw(st.sampled_from(sorted(remaining)))
        piece = next(remaining[key], None)
        if piece is None:
            del remaining[key]
        else:
            order.append((key, piece))
    return order


@given(interleavings())
def test_every_interleaving_gives_every_call_whole(deltas: list[tuple[int, str]]) -> None:
    parts = Parts()
    sequencer = Sequencer(parts)
    expected: dict[int, str] = {}
    for key, piece in deltas:
        expected[key] = expected.get(key, "") + piece
        call(sequencer, key, piece)
    sequencer.stop(END)
    assert parts.texts() == [(f"call c{key} f{key}", text) for key, text in expected.items()]
    assert parts.failures == []
