"""Reads a provider's stream of Anthropic's events into a sink."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from libs.common.domain.message_usage import usage_of_message, without_output
from libs.common.domain.reported_counts import UsageReport, merged
from services.gateway.formats.base import report_in
from services.gateway.formats.messages_wire import REFUSAL
from services.gateway.upstream.translation.frames import FrameDecoder
from services.gateway.upstream.translation.messages.answer_reader import own_members
from services.gateway.upstream.translation.messages.errors import failure_in
from services.gateway.upstream.translation.messages.stops import read_stop
from services.gateway.upstream.translation.messages.stream_blocks import Garbled, StreamBlocks
from services.gateway.upstream.translation.messages.usage import of_refusal
from services.gateway.upstream.translation.messages.wire import (
    Delta,
    Event,
    MessageObject,
    StopDetails,
)
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.reply import ReportedError, Sink

_event = msgspec.json.Decoder(Event)


class MessagesStreamReader:
    """What tells of the message's end is gathered until its last event: several may."""

    def __init__(self, sink: Sink, family: Family) -> None:
        self.done = False
        # The usage tells it.
        self.tier: str | None = None
        self._sink = sink
        self._frames: FrameDecoder[Event] = FrameDecoder(_event)
        self._blocks = StreamBlocks(sink, family)
        self._message_id: str | None = None
        self._is_whole = False
        self._report: UsageReport = {}
        self._stop_reason: str | None = None
        self._stop_sequence: str | None = None
        self._stop_details: StopDetails | None = None
        self._extra: dict[str, msgspec.Raw] = {}

    def feed(self, frame: bytes) -> None:
        """Raises UpstreamFailed where the frame cannot be read."""
        event = self._frames.read(frame)
        handle = None if event is None or self.done else self._handlers.get(event.type)
        if event is None or handle is None:
            return
        try:
            handle(self, event)
        except Garbled as garbled:
            self._fail(garbled.failure)

    def end(self) -> bool:
        """Servers that leave the last event out have told of the end before."""
        if not self.done and self._stop_reason is not None:
            self._finish(None)
        return self._is_whole

    def _start(self, event: Event) -> None:
        message = event.message or MessageObject()
        if self._message_id is None:
            self._start_message(message)
            self._take_usage(message.usage, is_start=True)
        elif self._blocks.has_begun or message.id != self._message_id:
            raise Garbled("The provider began a second answer within one stream.")

    def _start_message(self, message: MessageObject) -> None:
        self._message_id = message.id
        self._sink.started(message.id, message.model, None)

    def _begin(self, event: Event) -> None:
        if self._message_id is None:
            self._start_message(MessageObject())
        self._blocks.begin(event.index, event.content_block)

    def _add(self, event: Event) -> None:
        if self._message_id is None:
            self._start_message(MessageObject())
        if event.delta is not None:
            self._blocks.add(event.index, event.delta)

    def _end_block(self, event: Event) -> None:
        self._blocks.stop(event.index)

    def _read_end(self, event: Event) -> None:
        """Members that a later event omits keep their values."""
        delta = event.delta or Delta()
        self._stop_reason = delta.stop_reason or self._stop_reason
        self._stop_sequence = delta.stop_sequence or self._stop_sequence
        self._stop_details = delta.stop_details or self._stop_details
        self._extra |= own_members(delta.container, event.context_management)
        self._take_usage(event.usage)

    def _take_usage(self, usage: msgspec.Raw, *, is_start: bool = False) -> None:
        report = report_in(usage)
        if report is not None:
            self._report = merged(self._report, without_output(report) if is_start else report)
            self._tell_usage()

    def _tell_usage(self) -> None:
        usage = usage_of_message(self._report) if self._report else None
        if self._stop_reason == REFUSAL:
            usage = of_refusal(usage, has_output=self._blocks.has_output)
        if usage is not None:
            self._sink.usage(usage)

    def _finish(self, _: Event | None) -> None:
        if self._message_id is None:
            self._start_message(MessageObject())
        self._blocks.stop_all()
        self.done = self._is_whole = True
        # This event shows whether a refusal is charged for.
        self._tell_usage()
        self._sink.stop(
            read_stop(
                self._stop_reason,
                self._stop_sequence,
                self._stop_details,
                has_calls=self._blocks.calls > 0,
                extra=self._extra,
            )
        )

    def _report_error(self, event: Event) -> None:
        self._fail(failure_in(event.error, None))

    def _fail(self, failure: ReportedError) -> None:
        self.done = True
        self._sink.failed(failure)

    # Of the class: bound methods in an instance would keep the stream until a collection.
    _handlers: ClassVar[Mapping[str, Callable[["MessagesStreamReader", Event], None]]] = {
        "content_block_delta": _add,
        "content_block_start": _begin,
        "content_block_stop": _end_block,
        "message_start": _start,
        "message_delta": _read_end,
        "message_stop": _finish,
        "error": _report_error,
    }
