"""Streams of chat for the tests: what a reader tells, and what a client makes of chunks."""

import json
from itertools import pairwise
from typing import Any

import msgspec
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletionChunk

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.parts import ThoughtSignature
from services.gateway.upstream.translation.reply import ReportedError, Sink, Stop


class Recorder:
    """Keeps the calls that a sink gets, by name, without those arguments that are None."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def _add(self, *event: Any) -> None:
        self.events.append(event)

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        self._add("started", answer_id, model, created)

    def text(self, delta: str, logprobs: msgspec.Raw | None = None) -> None:
        self._add("text", delta, *([] if logprobs is None else [json.loads(bytes(logprobs))]))

    def refusal(self, delta: str) -> None:
        self._add("refusal", delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        self._add("thinking", delta)

    def sign(self, signature: ThoughtSignature, call_id: str | None = None) -> None:
        self._add("sign", signature.family, signature.data, *([] if call_id is None else [call_id]))

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        self._add("call", key, call_id, name, delta)

    def cite(self, citation: msgspec.Raw, family: str) -> None:
        self._add("cite", json.loads(bytes(citation)), family)

    def hosted(self, kind: str, raw: msgspec.Raw, family: str, at: int) -> None:
        self._add("hosted", kind)

    def ended(self) -> None:
        self._add("ended")

    def usage(self, usage: TokenUsage) -> None:
        self._add("usage", usage)

    def stop(self, stop: Stop) -> None:
        self._add("stop", stop.kind)

    def failed(self, failure: ReportedError) -> None:
        self._add("failed", failure.message)


def chunk(delta: Any = None, reason: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return {"id": "c-1", "model": "m", "created": 7, "choices": [choice], **members}


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)


DONE = b"data: [DONE]\n\n"


def fed(sink: Sink, stream: bytes, cuts: list[int] | None = None) -> bool:
    """Whether the stream was a whole answer. `cuts`: where its bytes are cut."""
    reader, splitter = CHAT.reader(sink, "openai"), FrameSplitter()
    places = [0, *sorted(cuts or []), len(stream)]
    for start, end in pairwise(places):
        for frame in splitter.feed(stream[start:end]):
            reader.feed(frame)
    return reader.end()


def events(*chunks: Any, done: bool = True) -> list[tuple[Any, ...]]:
    """What is told of the stream after its beginning."""
    recorder = Recorder()
    fed(recorder, sse(*chunks) + (DONE if done else b""))
    return [event for event in recorder.events if event[0] != "started"]


def chunks_of(stream: bytes) -> list[Any]:
    """Judged by the SDK's own type, strictly."""
    frames = FrameSplitter().feed(stream)
    assert frames[-1] == DONE
    payloads = [frame.removeprefix(b"data: ") for frame in frames[:-1]]
    for payload in payloads:
        # Its type of a stream's calls has functions alone, though custom ones are streamed too.
        if b'"type":"custom"' in payload:
            continue
        ChatCompletionChunk.model_validate_json(payload, strict=True)
    return [json.loads(payload) for payload in payloads]


def message_of(stream: bytes) -> tuple[Any, str]:
    """What the SDK's own accumulator makes of a stream: the message, and how it ended."""
    message: Any = {}
    reason = ""
    for each in chunks_of(stream):
        for choice in each["choices"]:
            message = accumulate_delta(message, choice["delta"])
            reason = choice["finish_reason"] or reason
    return message, reason
