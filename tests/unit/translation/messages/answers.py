"""Messages of Anthropic's, whole and as streams, and what its SDK makes of those."""

from typing import Any

import msgspec
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.sse import FrameSplitter, data_of, frame
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.names import ToolNames
from services.gateway.upstream.translation.reply import AnswerContext, ReportedError, Sink, Stop
from services.gateway.upstream.translation.sequencer import Sequencer

EVENT: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)
USAGE = {"input_tokens": 10, "output_tokens": 5}


def context(family: str = "anthropic", **changes: Any) -> AnswerContext:
    defaults = AnswerContext(
        request=Request(turns=()),
        fields={},
        model="asked",
        created=1_700_000_000,
        family=family,
        names=ToolNames(),
    )
    return msgspec.structs.replace(defaults, **changes)


def message(*content: Any, **members: Any) -> dict[str, Any]:
    defaults = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "asked",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return defaults | members


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


def event(kind: str, **members: Any) -> bytes:
    return frame(encoded({"type": kind, **members}), event=kind)


def started(**members: Any) -> bytes:
    start = message(stop_reason=None, usage={"input_tokens": 10, "output_tokens": 1}) | members
    return event("message_start", message=start)


def block(index: int, begin: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=begin),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def text(index: int, *deltas: str) -> list[bytes]:
    text_deltas = [{"type": "text_delta", "text": delta} for delta in deltas]
    return block(index, {"type": "text", "text": ""}, *text_deltas)


def call(index: int, call_id: str, *deltas: str) -> list[bytes]:
    begin = {"type": "tool_use", "id": call_id, "name": "f", "input": {}}
    json_deltas = [{"type": "input_json_delta", "partial_json": delta} for delta in deltas]
    return block(index, begin, *json_deltas)


def ended(reason: str | None = "end_turn", **delta: Any) -> bytes:
    stop_delta = {"stop_reason": reason, "stop_sequence": None} | delta
    return event("message_delta", delta=stop_delta, usage={"output_tokens": 5})


STOPPED = event("message_stop")


class Recorder:
    """What a sink is told, as (method, arguments); deltas of one part are joined."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.usages: list[TokenUsage] = []
        self.stopped: Stop | None = None
        self.failure: ReportedError | None = None

    def started(self, answer_id: str, model: str, created: int | None) -> None:
        self.events.append(("started", answer_id, model))

    def text(self, delta: str, logprobs: Any = None) -> None:
        self._add("text", delta)

    def refusal(self, delta: str) -> None:
        self._add("refusal", delta)

    def thinking(self, delta: str, summary: int | None = None) -> None:
        self._add("thinking", delta)

    def sign(self, signature: Any, call_id: str | None = None) -> None:
        self.events.append(("sign", signature.family, signature.data))

    def call(self, key: int, call_id: str, name: str, delta: str, is_freeform: bool) -> None:
        self._add("call", key, call_id, name, delta)

    def cite(self, citation: Any, family: str) -> None:
        self.events.append(("cite", msgspec.json.decode(citation), family))

    def hosted(self, kind: str, raw: Any, family: str, at: int) -> None:
        self.events.append(("hosted", kind, msgspec.json.decode(raw), family))

    def ended(self) -> None:
        self.events.append(("ended",))

    def usage(self, usage: TokenUsage) -> None:
        self.usages.append(usage)

    def stop(self, stop: Stop) -> None:
        self.stopped = stop

    def failed(self, failure: ReportedError) -> None:
        self.failure = failure

    def _add(self, *part: Any) -> None:
        last = self.events[-1] if self.events else ()
        if last[:-1] == part[:-1]:
            self.events[-1] = (*part[:-1], last[-1] + part[-1])
        else:
            self.events.append(part)


def read_stream(frames: list[bytes], family: str = "anthropic") -> tuple[Recorder, bool]:
    """Whether it was a whole answer comes with it."""
    recorder = Recorder()
    reader = MESSAGES.reader(recorder, family)
    for each in frames:
        reader.feed(each)
    return recorder, reader.end()


def through(frames: list[bytes], answer_context: AnswerContext) -> bytes:
    """Read, put in order and written again."""
    writer = MESSAGES.writer(answer_context)
    reader = MESSAGES.reader(Sequencer(writer), answer_context.family)
    stream = b""
    for each in frames:
        reader.feed(each)
        stream += writer.take()
    if reader.end():
        writer.finish()
    return stream + writer.take()


def written_by(play: Any, answer_context: AnswerContext) -> bytes:
    """`play` calls a sink as a reader does."""
    writer = MESSAGES.writer(answer_context)
    sink: Sink = writer
    play(sink)
    writer.finish()
    return writer.take()


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Each is valid, and named as its type."""
    found = []
    for each in FrameSplitter().feed(stream):
        decoded: dict[str, Any] = msgspec.json.decode(data_of(each))
        assert each.startswith(f"event: {decoded['type']}\n".encode())
        if decoded["type"] not in ("ping", "error"):
            EVENT.validate_json(data_of(each), strict=True)
        found.append(decoded)
    return found


def accumulated(stream: bytes) -> dict[str, Any]:
    """The message that Anthropic's SDK puts together."""
    snapshot: Any = None
    inputs: dict[int, bytes] = {}
    for each in events_of(stream):
        if each["type"] in ("ping", "error"):
            continue
        snapshot = accumulate_event(
            event=EVENT.validate_python(each),
            current_snapshot=snapshot,
            json_bufs=inputs,
            request_headers={},  # type: ignore[arg-type]
        )
    decoded: dict[str, Any] = snapshot.to_dict(mode="json", exclude_unset=True)
    return decoded


def strict(answer: bytes) -> dict[str, Any]:
    BetaMessage.model_validate_json(answer, strict=True)
    decoded: dict[str, Any] = msgspec.json.decode(answer)
    return decoded
