"""Reads a provider's stream of chat's chunks."""

import msgspec

from libs.common.domain.reported_counts import UsageReport, decode_report, merged
from libs.common.domain.usage import usage_of_openai
from libs.common.schemas.usage import TokenUsage
from services.gateway.upstream.translation.chat import answer_wire, wire
from services.gateway.upstream.translation.chat.answer_reader import (
    CITED,
    minted_id,
    text_and_thinking,
)
from services.gateway.upstream.translation.chat.errors import ENDED_IN_ERROR, ERRED, failure_in
from services.gateway.upstream.translation.chat.family import FILES, SIGNATURES
from services.gateway.upstream.translation.chat.stops import stop_of
from services.gateway.upstream.translation.chat.stream_calls import StreamCalls
from services.gateway.upstream.translation.frames import FrameDecoder
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.reply import ReportedError, Sink
from services.gateway.upstream.translation.thought_signatures import signature_in

_DONE = b"[DONE]"
# A frame of it is no longer than that.
_DONE_BYTES = 32
_NOTHING = (wire.ABSENT, wire.NULL)
_TOO_MUCH = ReportedError(
    message="The provider sent more tool calls, or more of one without its name, than are kept.",
    status=502,
    code="upstream_unreadable",
)
_NO_DELTA = answer_wire.AnswerMessage()


class ChatStreamReader:
    """Of one stream with one choice; others than the first are passed over."""

    def __init__(self, sink: Sink, _family: Family) -> None:
        self.done = False
        self.tier: str | None = None
        self._sink = sink
        self._frames = FrameDecoder(answer_wire.answer_decoder)
        self._answer_id: str | None = None
        self._calls = StreamCalls(sink)
        self._finish_reason: str | None = None
        self._stop_string: str | int | None = None
        self._has_refused = False
        self._has_failed = False
        self._has_cited = False
        self._report: UsageReport = {}
        self._last_usage: TokenUsage | None = None

    def feed(self, frame: bytes) -> None:
        if self.done:
            return
        if len(frame) <= _DONE_BYTES and _DONE in frame:
            self._finish()
            self.done = True
            return
        chunk = self._frames.read(frame)
        if chunk is None:
            return
        if chunk.error not in _NOTHING:
            self._fail(failure_in(chunk.error))
            return
        if self._answer_id is None:
            self._answer_id = chunk.id or ""
            created = None if chunk.created is None else int(chunk.created)
            self._sink.started(self._answer_id, chunk.model or "", created)
        if chunk.service_tier is not None:
            self.tier = chunk.service_tier
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._read_choice(choice)
        if chunk.usage not in _NOTHING:
            self._take_usage(chunk.usage)

    def end(self) -> bool:
        if not self.done:
            self._finish()
            self.done = True
        return self._finish_reason is not None or self._has_failed

    def _read_choice(self, choice: answer_wire.Choice) -> None:
        if choice.error not in _NOTHING:
            self._fail(failure_in(choice.error))
            return
        delta = choice.delta or choice.message or _NO_DELTA
        self._read_content(choice, delta)
        if delta.refusal:
            self._has_refused = True
            self._sink.refusal(delta.refusal)
        for citation in delta.annotations or ():
            self._has_cited = self._has_cited or CITED in bytes(citation)
            self._sink.cite(citation, FILES)
        for call in delta.tool_calls or ():
            self._read_call(call)
        if delta.function_call is not None:
            # The first form of calls has one, and no id.
            call_id = minted_id(self._answer_id or "", 0)
            self._read_call(
                answer_wire.AnswerCall(index=0, id=call_id, function=delta.function_call)
            )
        if choice.finish_reason is not None:
            self._read_finish(choice)

    def _read_content(self, choice: answer_wire.Choice, delta: answer_wire.AnswerMessage) -> None:
        text, thought = delta.content, delta.reasoning_content or delta.reasoning
        if isinstance(text, list):
            text, inner = text_and_thinking(text)
            thought = thought or inner
        if thought:
            self._sink.thinking(thought)
        if delta.thinking_blocks:
            self._read_blocks(delta.thinking_blocks, has_text=bool(thought))
        if text:
            entries = None if choice.logprobs is None else choice.logprobs.content
            is_list = entries is not None and bytes(entries)[:1] == b"["
            self._sink.text(text, entries if is_list else None)

    def _read_blocks(self, blocks: list[wire.ChatThinking], *, has_text: bool) -> None:
        """LiteLLM's: their text is in `reasoning_content` as well, their signatures are not."""
        for block in blocks:
            if block.thinking and not has_text:
                self._sink.thinking(block.thinking)
            value = block.signature or block.data or ""
            signature = signature_in(value, SIGNATURES)
            if signature is None:
                continue
            if block.type == "redacted_thinking":
                self._sink.ended()
            self._sink.sign(signature)

    def _read_finish(self, choice: answer_wire.Choice) -> None:
        if choice.finish_reason == ERRED:
            self._fail(ENDED_IN_ERROR)
        elif self._finish_reason is None:
            self._finish_reason = choice.finish_reason
            self._stop_string = choice.stop_reason

    def _read_call(self, call_delta: answer_wire.AnswerCall) -> None:
        if not self._has_failed and not self._calls.read(call_delta):
            self._fail(_TOO_MUCH)

    def _take_usage(self, raw: msgspec.Raw) -> None:
        report = decode_report(raw)
        if report is not None:
            self._report = merged(self._report, report)
            # Some servers report after each chunk: a stream that breaks off has used that much.
            self._tell_usage()

    def _finish(self) -> None:
        if self._has_failed:
            return
        if self._finish_reason is None:
            self._tell_usage()
            return
        has_calls = self._calls.finish(self._answer_id or "")
        stop = stop_of(
            self._finish_reason,
            self._stop_string,
            has_calls=has_calls,
            has_refused=self._has_refused,
        )
        self._tell_usage()
        self._sink.stop(stop)

    def _tell_usage(self) -> None:
        if not self._report:
            return
        usage = usage_of_openai(self._report, self.tier)
        if self._has_cited and usage.web_searches is None:
            # OpenAI's models that search do so once, and their usage does not count it.
            usage = msgspec.structs.replace(usage, web_searches=1)
        if usage != self._last_usage:
            self._last_usage = usage
            self._sink.usage(usage)

    def _fail(self, failure: ReportedError) -> None:
        """What was used until then is charged for."""
        if self._has_failed:
            return
        self.done = True
        self._has_failed = True
        self._tell_usage()
        self._sink.failed(failure)
