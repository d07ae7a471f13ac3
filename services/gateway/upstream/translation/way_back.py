"""One answer's translation on its way back to the client, whole or streamed.

Pure but for the provider's bytes: the same call and the same answer always give the same bytes.
"""

import msgspec

from libs.common.errors import AnswerBroken, AppError, CallMalformed, UpstreamFailed
from libs.common.schemas.usage import TokenCounts, TokenUsage
from services.gateway.calls.headers import Header
from services.gateway.formats import FORMATS
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, JSON_HEADERS, Stream, WholeAnswer
from services.gateway.upstream.translation.blamed_fields import blamed_field
from services.gateway.upstream.translation.engine import Translation
from services.gateway.upstream.translation.failures import error_of, reported_error, unfinished
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.reply import Reader, ReportedError, Writer
from services.gateway.upstream.translation.sequencer import Sequencer
from services.gateway.upstream.verdict import asked_pause_s

_FIRST_BAD_STATUS = 300
_COUNTS = TokenCounts.__struct_fields__
_NO_RETRY: Header = (b"x-should-retry", b"false")


def translated_answer(translation: Translation, answer: WholeAnswer) -> WholeAnswer:
    """In the client's format. Raises AppError for a provider's error, UpstreamFailed for bytes
    that are none of its format's.

    One that is paid for is an answer nevertheless: an error that costs what it reports.
    """
    client, target, context = translation.client, translation.target, translation.context
    if answer.status >= _FIRST_BAD_STATUS:
        raise _client_error(translation, target.read_error(answer.status, answer.body), answer)
    headers = JSON_HEADERS
    try:
        reply = target.read_answer(answer.body, context.family)
        if isinstance(reply, ReportedError):
            raise _client_error(translation, reply, answer)
        if reply.stop.kind == "malformed":
            raise CallMalformed("The model called a tool in a form that cannot be read.")
        body, status, usage = client.write_answer(reply, context), 200, reply.usage
    except AppError as error:
        usage = _usage_in(answer, target)
        if not isinstance(error, AnswerBroken) and not _is_paid_for(usage):
            raise
        error_answer = FORMATS[client.name].error(error, translation.call_id)
        body, status = error_answer.body, error_answer.status
        headers = [*headers, _NO_RETRY]
    return WholeAnswer(
        status=status,
        headers=headers + translation.headers,
        body=body,
        provider_request_id=answer.provider_request_id,
        usage=usage,
        is_final=True,
    )


def _client_error(
    translation: Translation, failure: ReportedError, answer: WholeAnswer | Stream
) -> AppError:
    pause_s = asked_pause_s(answer.headers, translation.context.created)
    return error_of(failure, pause_s, blamed_field(translation, failure.param))


def _usage_in(answer: WholeAnswer, target: Language) -> TokenUsage | None:
    """The usage that an untranslatable answer reports."""
    try:
        return FORMATS[target.name].usage_of_answer(answer.body)
    except UpstreamFailed:
        return None


def _is_paid_for(usage: TokenUsage | None) -> bool:
    return usage is not None and any(getattr(usage, name) for name in _COUNTS)


async def translated_stream(translation: Translation, stream: Stream) -> Stream:
    """The provider's stream with what writes it in the client's format.

    Raises AppError, with the stream closed, where it begins with an error.
    """
    translated = _TranslatedStream(translation, stream)
    try:
        translated.begin(translation)
    except BaseException:
        await stream.close()
        raise
    return msgspec.structs.replace(
        stream, headers=EVENT_STREAM_HEADERS + translation.headers, translation=translated
    )


class _TranslatedStream:
    def __init__(self, translation: Translation, stream: Stream) -> None:
        self.error: AppError | None = None
        self._source = stream
        self._writer: Writer = translation.client.writer(translation.context)
        self._sequencer = Sequencer(self._writer, lambda failure: reported_error(error_of(failure)))
        self._reader: Reader = translation.target.reader(
            self._sequencer, translation.context.family
        )
        self._splitter = FrameSplitter()
        self._skip = len(stream.first_bytes)

    def begin(self, translation: Translation) -> None:
        """Raises AppError where what has come begins with an error, before any costs.

        The sent body is released then.
        """
        self._feed(self._source.first_bytes)
        failure = self._sequencer.failure
        if failure is not None and not _is_paid_for(self._sequencer.used):
            raise _client_error(translation, failure, self._source)
        if self.error is not None:
            raise self.error

    def feed(self, chunk: bytes) -> bytes:
        if self._skip:
            # Fed already.
            chunk, self._skip = chunk[self._skip :], max(0, self._skip - len(chunk))
        self._feed(chunk)
        # The frame of an error is what ends the stream.
        return b"" if self._sequencer.failure is not None else self._writer.take()

    def _feed(self, chunk: bytes) -> None:
        try:
            for frame in self._splitter.feed(chunk):
                if self.is_over():
                    return
                self._reader.feed(frame)
        except AppError as error:
            self.error = error

    def is_over(self) -> bool:
        return self._reader.done or self._sequencer.failure is not None

    def has_failed(self) -> bool:
        stop = self._sequencer.stopped
        return self._sequencer.failure is not None or (
            stop is not None and stop.kind == "malformed"
        )

    def end(self) -> bytes:
        rest = self._splitter.rest()
        if rest.strip() and not self.is_over():
            self._reader.feed(rest + b"\n\n")
        if self._sequencer.failure is None:
            if not self._reader.end():
                raise unfinished()
            self._writer.finish()
        return self._writer.take()

    def usage(self) -> TokenUsage | None:
        return self._sequencer.used

    def tier(self) -> str | None:
        return self._reader.tier

    def error_frame(self, error: AppError) -> bytes:
        self._sequencer.failed(reported_error(error))
        return self._writer.take()
