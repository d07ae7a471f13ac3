"""One call's translation to one deployment: its body on the way there, its answer on the way back.

Pure but for the provider's bytes: the same call and the same answer always give the same bytes.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from libs.common.errors import AnswerBroken, AppError, CallMalformed, UnsupportedField
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.calls.headers import Header
from services.gateway.formats import FORMATS
from services.gateway.formats.sse import FrameSplitter
from services.gateway.upstream.answer import EVENT_STREAM_HEADERS, JSON_HEADERS, Answer, Stream
from services.gateway.upstream.headers import changed_headers
from services.gateway.upstream.translation.chat import CHAT
from services.gateway.upstream.translation.conversation import Request
from services.gateway.upstream.translation.failures import error_of, failure_of, unfinished
from services.gateway.upstream.translation.language import Language
from services.gateway.upstream.translation.mending import mend
from services.gateway.upstream.translation.messages import MESSAGES
from services.gateway.upstream.translation.names import tool_names
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.refusals import Report
from services.gateway.upstream.translation.reply import AnswerContext, Failure, Reader, Writer
from services.gateway.upstream.translation.responses import RESPONSES
from services.gateway.upstream.translation.sequencer import Sequencer

LANGUAGES: dict[ClientFormat, Language] = {
    "chat": CHAT,
    "messages": MESSAGES,
    "responses": RESPONSES,
}
# Which of a target's formats comes closest to a client's. Its own is one where the target's bytes
# differ in more than the format says.
_CLOSEST: dict[ClientFormat, tuple[ClientFormat, ...]] = {
    "chat": ("chat", "responses", "messages"),
    "messages": ("messages", "responses", "chat"),
    "responses": ("responses", "chat", "messages"),
}
_FIRST_BAD_STATUS = 300
_NO_RETRY: Header = (b"x-should-retry", b"false")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for: its body by top-level names, in its format.

    `model` is the name that the answer tells, `created` the gateway's clock in Unix seconds.
    """

    client: ClientFormat
    fields: dict[str, msgspec.Raw]
    model: str
    created: int
    call_id: str


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """A call as its deployment gets it, in `format`, and what its answer has to be told by."""

    client: Language
    target: Language
    fields: dict[str, Any]
    context: AnswerContext
    report: Report
    call_id: str

    @property
    def format(self) -> ClientFormat:
        return self.target.name

    @property
    def headers(self) -> list[Header]:
        return changed_headers(self.report.dropped_params, self.report.adapted_params)

    def without(self, names: Iterable[str]) -> dict[str, Any]:
        """The fields but for those names, which the target turns out not to know.

        Raises UnsupportedField by the client's name, unless the route drops such fields.
        """
        meant = {sent: field for field, sent in reversed(tuple(self.target.paths.fields.items()))}
        left = dict(self.fields)
        for name in names:
            self.report.unsupported(self.report.paths.field(meant.get(name, name)))
            left.pop(name, None)
        return left


def translate(
    asked: Asked, model: str, profile: Profile, formats: Sequence[ClientFormat], *, drops: bool
) -> Translation:
    """In the first of the target's `formats` that carries all of the call.

    Raises InvalidRequest for the client's own mistakes, and UnsupportedField, which names what
    none of the formats can carry.
    """
    client = LANGUAGES[asked.client]
    request = client.read_request(asked.fields)
    refused: UnsupportedField | None = None
    best: tuple[Translation, int] | None = None
    for name in formats:
        try:
            found, dropped = _translated(asked, request, LANGUAGES[name], model, profile, drops)
        except UnsupportedField as error:
            refused = refused or error
            continue
        if not dropped:
            return found
        if best is None or dropped < best[1]:
            best = found, dropped
    if best is not None:
        return best[0]
    raise refused or UnsupportedField(
        "model: the model's provider speaks no format that this call can be translated to.",
        param="model",
    )


def closest(client: ClientFormat, spoken: Collection[ClientFormat]) -> tuple[ClientFormat, ...]:
    """Those formats that a call can be translated to, the closest first."""
    return tuple(name for name in _CLOSEST.get(client, ()) if name in spoken)


def _translated(
    asked: Asked, request: Request, target: Language, model: str, profile: Profile, drops: bool
) -> tuple[Translation, int]:
    client = LANGUAGES[asked.client]
    report = Report(client.paths.of_body(asked.fields), drops=drops)
    names = tool_names(request, profile.max_name_chars, client.paths)
    fields = target.write_request(
        mend(request, profile, report, target.name), model, profile, report
    )
    context = AnswerContext(
        request=request,
        fields=asked.fields,
        model=asked.model,
        created=asked.created,
        family=profile.family,
        names=names,
    )
    translation = Translation(
        client=client,
        target=target,
        fields=fields,
        context=context,
        report=report,
        call_id=asked.call_id,
    )
    return translation, len(report.dropped_params)


def translated_answer(translation: Translation, answer: Answer) -> Answer:
    """In the client's format. Raises AppError for a provider's error, UpstreamFailed for bytes
    that are none of its format's.
    """
    client, target, context = translation.client, translation.target, translation.context
    if answer.status >= _FIRST_BAD_STATUS:
        raise error_of(target.read_error(answer.status, answer.body), answer.headers)
    reply = target.read_answer(answer.body, context.family)
    if isinstance(reply, Failure):
        raise error_of(reply, answer.headers)
    headers = JSON_HEADERS + translation.headers
    try:
        if reply.stop.kind == "malformed":
            raise CallMalformed("The model called a tool in a form that cannot be read.")
        body, status = client.write_answer(reply, context), 200
    except AnswerBroken as error:
        told = FORMATS[client.name].error(error, translation.call_id)
        body, status = told.body, told.status
        headers = [*headers, _NO_RETRY]
    return Answer(
        status=status,
        headers=headers,
        body=body,
        provider_request_id=answer.provider_request_id,
        usage=reply.usage,
        is_final=True,
    )


async def translated_stream(translation: Translation, stream: Stream) -> Stream:
    """The provider's stream with what writes it in the client's format.

    Raises AppError, with the stream closed, where it begins with an error.
    """
    under_way = _TranslatedStream(translation, stream)
    try:
        under_way.begin()
    except BaseException:
        await stream.close()
        raise
    return msgspec.structs.replace(
        stream, headers=EVENT_STREAM_HEADERS + translation.headers, translation=under_way
    )


class _TranslatedStream:
    def __init__(self, translation: Translation, stream: Stream) -> None:
        self.error: AppError | None = None
        self._source = stream
        self._writer: Writer = translation.client.writer(translation.context)
        self._sequencer = Sequencer(self._writer, lambda failure: failure_of(error_of(failure)))
        self._reader: Reader = translation.target.reader(
            self._sequencer, translation.context.family
        )
        self._splitter = FrameSplitter()
        self._skip = len(stream.begun)

    def begin(self) -> None:
        """Raises AppError where what has come begins with an error."""
        self._feed(self._source.begun)
        if self._sequencer.failure is not None:
            raise error_of(self._sequencer.failure, self._source.headers)
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
        stopped = self._sequencer.stopped
        return self._sequencer.failure is not None or (
            stopped is not None and stopped.kind == "malformed"
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

    def error_frame(self, error: AppError) -> bytes:
        self._sequencer.failed(failure_of(error))
        return self._writer.take()
