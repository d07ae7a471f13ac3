"""Follows the stream of a message."""

import msgspec

from libs.common.domain.message_usage import usage_of_message, with_container, without_output
from libs.common.domain.reported_counts import UsageReport, merged, word_of
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import NULL, MadeObjects, report_in, type_of
from services.gateway.formats.kept_frames import KeptFrames
from services.gateway.formats.messages_wire import REFUSAL, event_in, objects_in, texts_in_event


class MessagesReader:
    """Ends at `message_stop`; `message_start` and `message_delta` carry cumulative usage."""

    def __init__(self, requested_speed: str | None = None, *, keeps_answer: bool = False) -> None:
        self.done = False
        self.failed = False
        self._keeps_answer = keeps_answer
        self._message_id: str | None = None
        self._model: str | None = None
        self._objects: tuple[str, ...] = ()
        self._requested_speed = requested_speed
        self._report: UsageReport = {}
        self._announced_tokens = 0
        self._ran_code = False
        self._complete = False
        self._stop_reason: str | None = None
        self._frames = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        match type_of(frame):
            case b"content_block_delta":
                self._frames.keep(frame)
            case b"content_block_start":
                self._frames.keep(frame)
                self._objects += objects_in(frame)
            case b"message_start":
                self._objects += objects_in(frame)
                message = event_in(frame).message
                if message is not None:
                    self._message_id, self._model = message.id, word_of(message.model)
                    self._ran_code = message.container != NULL
                    self._announce(message.usage)
            case b"message_delta":
                self._objects += objects_in(frame)
                event = event_in(frame)
                self._merge(event.usage)
                self._complete = True
                if event.delta is not None:
                    self._stop_reason = word_of(event.delta.stop_reason) or self._stop_reason
                    self._ran_code = self._ran_code or event.delta.container != NULL
            case b"message_stop":
                self.done = True
            case b"error":
                self.failed = True
        return frame

    def _announce(self, raw: msgspec.Raw) -> None:
        report = report_in(raw)
        if report is not None:
            self._announced_tokens = total_output(usage_of_message(report))
            self._report = merged(self._report, without_output(report))

    def _merge(self, raw: msgspec.Raw) -> None:
        report = report_in(raw)
        if report is not None:
            self._report = merged(self._report, report)

    def is_whole(self) -> bool:
        return self._complete and self._stop_reason is not None and bool(self._report)

    def objects(self) -> MadeObjects:
        return MadeObjects(self._message_id if self._keeps_answer else None, self._objects)

    def usage(self) -> TokenUsage | None:
        if not (self._complete and self._report):
            return None
        reported = self._reported_usage()
        if self._stop_reason == REFUSAL and not self.text():
            return msgspec.structs.replace(reported, unbilled=True)
        has_input, has_output = total_input(reported) > 0, total_output(reported) > 0
        if has_input and has_output:
            return reported
        is_incomplete = (has_output and not has_input) or bool(self.text())
        return None if is_incomplete else reported

    def model(self) -> str | None:
        return self._model

    def _reported_usage(self) -> TokenUsage:
        return with_container(usage_of_message(self._report), ran_code=self._ran_code)

    def was_delivered(self) -> bool:
        reported = self._reported_usage()
        return bool(total_input(reported) or total_output(reported) or self.text())

    def text(self) -> bytes:
        return self._frames.uncounted_text(texts_in_event)

    def unkept_bytes(self) -> int:
        return self._frames.uncounted_beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """The input as reported, where it was, and what was announced or estimated of the output.

        At the requested speed if no event has reported one.
        """
        reported = self._reported_usage()
        if reported.speed is None:
            reported = msgspec.structs.replace(reported, speed=self._requested_speed)
        uncounted = max(output_tokens, self._announced_tokens) - total_output(reported)
        return filled(reported, input_tokens, max(uncounted, 0))
