"""Follows the stream of a chat completion."""

import re

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.reported_counts import UsageReport, merged, word_of
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import filled, usage_of_openai
from libs.common.schemas.usage import TokenUsage
from services.gateway.formats.base import (
    ABSENT,
    NO_OBJECTS,
    NULL,
    MadeObjects,
    report_in,
    tier_in_force,
)
from services.gateway.formats.chat_wire import (
    CITATION,
    ChatAnswer,
    chat_answer,
    chat_texts,
    is_empty,
    texts_of,
    with_search,
)
from services.gateway.formats.kept_frames import KeptFrames
from services.gateway.formats.objects import brought_objects
from services.gateway.formats.sse import data_of, frame

_encode = msgspec.json.encode
_NULL_USAGE = b',"usage":null}\n\n'
# In a text that says so there is a backslash before its last quote.
_FINISH_REASON = re.compile(rb'"finish_reason"\s*:\s*"')

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ChatReader:
    """Ends at `[DONE]`; the usage comes in a chunk of its own with no choices.

    Some servers report the usage so far in each chunk.
    """

    def __init__(
        self, *, wants_usage: bool, has_audio: bool = False, requested_tier: str | None = None
    ) -> None:
        self.done = False
        self.failed = False
        self._has_audio = has_audio
        self._wants_usage = wants_usage
        self._requested_tier = requested_tier
        self._tier: str | None = None
        self._report: UsageReport = {}
        self._reported: TokenUsage | None = None
        self._is_final = False
        self._frames = KeptFrames()

    def read(self, frame: bytes) -> bytes:
        if frame.endswith(_NULL_USAGE) and b'"error"' not in frame:
            # Nearly every frame of a stream that was asked for its usage. At the very end it can
            # only be a member of the outermost object, so no parsing is needed to take it out.
            self._frames.keep(frame)
            return frame if self._wants_usage else frame[: -len(_NULL_USAGE)] + b"}\n\n"
        if b'"usage"' in frame:
            return self._read_usage(frame)
        if b"[DONE]" in frame and data_of(frame).strip() == b"[DONE]":
            self.done = True
        elif b'"error"' in frame and _reports_error(data_of(frame)):
            self.failed = True
        else:
            self._frames.keep(frame)
        return frame

    def _read_usage(self, frame_bytes: bytes) -> bytes:
        data = data_of(frame_bytes)
        try:
            fields = _fields.decode(data)
            answer = chat_answer.decode(data)
        except UNREADABLE:
            self._frames.keep(frame_bytes)
            return frame_bytes
        self.failed = answer.error not in (ABSENT, NULL)
        no_choices = is_empty(answer.choices)
        reported = answer.usage not in (ABSENT, NULL)
        if not no_choices:
            self._frames.keep(frame_bytes)
        if reported:
            self._take(answer, is_final=no_choices)
        if self._wants_usage or "usage" not in fields:
            return frame_bytes
        if reported and no_choices:
            return b""
        del fields["usage"]
        return frame(_encode(fields))

    def _take(self, answer: ChatAnswer, *, is_final: bool) -> None:
        report = report_in(answer.usage)
        if report is None:
            return
        self._report = merged(self._report, report)
        self._tier = answer.service_tier or self._tier
        self._reported = usage_of_openai(self._report, self._tier)
        self._is_final = is_final
        if total_output(self._reported):
            self._frames.mark_counted()

    def is_whole(self) -> bool:
        """The chunk with the usage alone is the last that any server owes but for `[DONE]`."""
        if self._reported is None:
            return False
        ends = self._frames.containing(b'"finish_reason"')
        return self._is_final or any(map(_FINISH_REASON.search, ends))

    def usage(self) -> TokenUsage | None:
        reported = self._reported
        if reported is None or (self._frames.has_uncounted() and self.text()):
            return None
        if not total_input(reported) and self.was_delivered():
            return None
        return self._with_other_chunks(reported, self._reported_tier())

    def _with_other_chunks(self, reported: TokenUsage, tier: str | None) -> TokenUsage:
        """With what other chunks than the one with the usage tell."""
        if tier != reported.service_tier:
            reported = msgspec.structs.replace(reported, service_tier=tier)
        return with_search(reported) if self._frames.contain(CITATION) else reported

    def _reported_tier(self) -> str | None:
        """If any chunk names it, all do."""
        first = self._frames.first() if self._tier is None else b""
        if b'"service_tier"' in first:
            try:
                return chat_answer.decode(data_of(first)).service_tier
            except UNREADABLE:
                pass
        return self._tier

    def model(self) -> str | None:
        """All chunks name it."""
        try:
            return word_of(chat_answer.decode(data_of(self._frames.first())).model)
        except UNREADABLE:
            return None

    def was_delivered(self) -> bool:
        reported = self._reported
        if reported is not None and (total_output(reported) or total_input(reported)):
            return True
        return bool(self.text())

    def objects(self) -> MadeObjects:
        """The first frames of a recording tell its id."""
        if self._has_audio:
            for audio_frame in self._frames.containing(b'"audio"'):
                objects = brought_objects("chat", data_of(audio_frame))
                if objects:
                    return MadeObjects(objects=objects)
        return NO_OBJECTS

    def text(self) -> bytes:
        return self._frames.uncounted_text(lambda data: texts_of(chat_texts.decode(data)))

    def unkept_bytes(self) -> int:
        return self._frames.uncounted_beyond()

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """At the requested tier if the stream broke off before it reported one."""
        tier = tier_in_force(self._reported_tier(), self._requested_tier)
        reported = TokenUsage() if self._reported is None else self._reported
        return filled(self._with_other_chunks(reported, tier), input_tokens, output_tokens)


def _reports_error(data: bytes) -> bool:
    try:
        return chat_answer.decode(data).error not in (ABSENT, NULL)
    except UNREADABLE:
        return False
