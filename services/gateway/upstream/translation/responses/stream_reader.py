"""Reads a provider's stream of OpenAI Responses."""

from collections.abc import Callable

import msgspec

from libs.common.domain.reported_counts import word_of
from libs.common.errors import UpstreamFailed
from services.gateway.formats.responses import Responses
from services.gateway.upstream.translation.frames import FrameDecoder
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.reply import ReportedError, Sink
from services.gateway.upstream.translation.responses.answer_reader import (
    WireError,
    WireResponse,
    response_failure,
    stop_for,
)
from services.gateway.upstream.translation.responses.streamed_items import (
    CALLS,
    StreamedItems,
    decoded_member,
)
from services.gateway.upstream.translation.responses.wire import ABSENT, ContentPart, Item

_METERED = Responses()
_DONE = b"[DONE]"
_SAID = ("output_text", "refusal")


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | dict[str, msgspec.Raw] | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    logprobs: msgspec.Raw = ABSENT
    annotation: msgspec.Raw = ABSENT
    part: msgspec.Raw = ABSENT
    item: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    code: str | int | None = None
    message: str | None = None
    param: str | None = None
    error: WireError | str | None = None


class _Output(msgspec.Struct, frozen=True):
    output: list[msgspec.Raw] | None = None


_event = msgspec.json.Decoder(_Event)
_item = msgspec.json.Decoder(Item)
_part = msgspec.json.Decoder(ContentPart)
_response = msgspec.json.Decoder(WireResponse)
_output = msgspec.json.Decoder(_Output)


class ResponsesStreamReader:
    def __init__(self, sink: Sink, family: Family) -> None:
        self.done = False
        self.tier: str | None = None
        self._sink = sink
        self._frames = FrameDecoder(_event)
        self._items = StreamedItems(sink, family)
        self._has_started = False
        # An `error` event, after which OpenAI tells the same again with the usage.
        self._failure: ReportedError | None = None

    def feed(self, frame: bytes) -> None:
        """One whole frame. Raises UpstreamFailed where it cannot be read."""
        if self.done:
            return
        if _DONE in frame and frame.endswith((b"[DONE]", b"[DONE]\n\n", b"[DONE]\r\n\r\n")):
            self._report_failure()
            return
        event = self._frames.read(frame)
        if event is None:
            return
        if self._failure is not None and event.type != "response.failed":
            self._report_failure()
            return
        if event.type == "response.output_text.delta":
            self._text(event)
            return
        if not event.type and event.error is not None:
            self._error(event)
            return
        handle = _EVENTS.get(event.type)
        if handle is not None:
            handle(self, event)

    def end(self) -> bool:
        self._report_failure()
        return self.done

    def created(self, event: _Event) -> None:
        if self._has_started:
            return
        response = decoded_member(_response, event.response)
        if response is None:
            return
        self._has_started = True
        self.tier = word_of(response.service_tier)
        created = None if response.created_at is None else int(response.created_at)
        self._sink.started(response.id, response.model, created)

    def _text(self, event: _Event) -> None:
        delta = event.delta
        if type(delta) is not str:
            return
        logprobs = event.logprobs
        has_logprobs = logprobs is not ABSENT and _is_filled(bytes(logprobs))
        entries = logprobs if has_logprobs else None
        self._items.text(event.output_index, event.content_index, delta, entries)

    def text_done(self, event: _Event) -> None:
        self._items.end_text(event.output_index, event.content_index, event.text)

    def annotated(self, event: _Event) -> None:
        if event.annotation is not ABSENT:
            self._items.cite(event.output_index, event.content_index, event.annotation)

    def refused(self, event: _Event) -> None:
        if type(event.delta) is str:
            self._items.refuse(event.output_index, event.content_index, event.delta)

    def refusal_done(self, event: _Event) -> None:
        self._items.end_refusal(event.output_index, event.content_index, event.refusal)

    def part_done(self, event: _Event) -> None:
        part = decoded_member(_part, event.part)
        if part is not None and part.type in _SAID:
            self._items.end_part(event.output_index, event.content_index, part)

    def summarized(self, event: _Event) -> None:
        if type(event.delta) is str:
            self._items.summarize(event.output_index, event.summary_index, event.delta)

    def summary_done(self, event: _Event) -> None:
        self._items.end_summary(event.output_index, event.summary_index, event.text)

    def thought(self, event: _Event) -> None:
        if type(event.delta) is str:
            self._items.think(event.output_index, event.content_index, event.delta)

    def thought_done(self, event: _Event) -> None:
        self._items.end_thought(event.output_index, event.content_index, event.text)

    def added(self, event: _Event) -> None:
        item = decoded_member(_item, event.item)
        if item is not None and item.type in CALLS:
            self._items.begin_call(event.output_index, item)

    def argued(self, event: _Event) -> None:
        if type(event.delta) is str:
            self._items.argue(event.output_index, event.delta)

    def arguments_done(self, event: _Event) -> None:
        arguments = event.arguments if event.arguments is not None else event.input
        self._items.end_arguments(event.output_index, arguments)

    def item_done(self, event: _Event) -> None:
        if event.item is not ABSENT:
            self._items.end_item(event.output_index, event.item)

    def over(self, event: _Event) -> None:
        """The answer is whole, or as whole as it gets."""
        self.created(event)
        response = decoded_member(_response, event.response)
        if response is None:
            return
        for index, raw in enumerate(_output.decode(event.response).output or ()):
            self._items.end_item(index, raw)
        self._report_usage(event.response)
        self.done = True
        stop = stop_for(
            response, has_calls=self._items.has_calls, has_refusal=self._items.has_refusal
        )
        self._sink.stop(stop)

    def failed(self, event: _Event) -> None:
        response = decoded_member(_response, event.response)
        failure = response_failure(None if response is None else response.error)
        if response is not None:
            self._report_usage(event.response)
        earlier = self._failure
        if earlier is not None and (response is None or response.error is None):
            failure = earlier
        elif earlier is not None and failure.code is None:
            failure = msgspec.structs.replace(failure, code=earlier.code or earlier.kind)
        self._failure = failure
        self._report_failure()

    def _error(self, event: _Event) -> None:
        """Flat, as the type has it, or nested, as some servers and errors have it."""
        if event.error is not None:
            self._failure = response_failure(event.error)
        else:
            flat = WireError(message=event.message, code=event.code, param=event.param)
            self._failure = response_failure(flat)

    error = _error

    def _report_failure(self) -> None:
        if self._failure is not None and not self.done:
            self.done = True
            self._sink.failed(self._failure)

    def _report_usage(self, response: msgspec.Raw) -> None:
        try:
            usage = _METERED.usage_of_answer(bytes(response))
        except UpstreamFailed:
            return
        if usage is not None:
            self._sink.usage(usage)


def _is_filled(entries: bytes) -> bool:
    return entries[:1] == b"[" and entries != b"[]"


_EVENTS: dict[str, Callable[[ResponsesStreamReader, _Event], None]] = {
    "error": ResponsesStreamReader.error,
    "response.completed": ResponsesStreamReader.over,
    "response.content_part.done": ResponsesStreamReader.part_done,
    "response.created": ResponsesStreamReader.created,
    "response.custom_tool_call_input.delta": ResponsesStreamReader.argued,
    "response.custom_tool_call_input.done": ResponsesStreamReader.arguments_done,
    "response.failed": ResponsesStreamReader.failed,
    "response.function_call_arguments.delta": ResponsesStreamReader.argued,
    "response.function_call_arguments.done": ResponsesStreamReader.arguments_done,
    "response.in_progress": ResponsesStreamReader.created,
    "response.incomplete": ResponsesStreamReader.over,
    "response.output_item.added": ResponsesStreamReader.added,
    "response.output_item.done": ResponsesStreamReader.item_done,
    "response.output_text.annotation.added": ResponsesStreamReader.annotated,
    "response.output_text.done": ResponsesStreamReader.text_done,
    "response.queued": ResponsesStreamReader.created,
    "response.reasoning_summary_text.delta": ResponsesStreamReader.summarized,
    "response.reasoning_summary_text.done": ResponsesStreamReader.summary_done,
    "response.reasoning_text.delta": ResponsesStreamReader.thought,
    "response.reasoning_text.done": ResponsesStreamReader.thought_done,
    "response.refusal.delta": ResponsesStreamReader.refused,
    "response.refusal.done": ResponsesStreamReader.refusal_done,
}
