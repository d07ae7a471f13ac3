"""The interface of a client format."""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeVar

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.holds import PLAIN_TEXT, BillableFeatures
from libs.common.domain.reported_counts import UsageReport, decode_report
from libs.common.errors import AppError, InvalidJSON, InvalidRequest, UpstreamFailed
from libs.common.schemas.usage import ClientFormat, TokenUsage
from services.gateway.formats.headers import FormatHeaders
from services.gateway.formats.named_models import NamedModel
from services.gateway.formats.objects import NamedObject
from services.gateway.formats.sse import data_of

T = TypeVar("T")
Known = TypeVar("Known", bound=msgspec.Struct)

# Text of a broken stream is kept for estimating its tokens, up to this many bytes.
MAX_KEPT_BYTES = 4 * 1024 * 1024

# Names end up in caches, logs and the ledger, so they are bounded.
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]

_SOUND_ENDS = (b"}\n\n", b"}\r\n\r\n")
KEEP_ALIVE_COMMENT = b": keep-alive\n\n"
NULL = msgspec.Raw(b"null")
ABSENT = msgspec.Raw()


class _Typed(msgspec.Struct):
    type: str = ""


# No API has a hundred fields, and each takes far more memory than its bytes.
_MAX_FIELDS = 1_000
# Of members, wherever they are: to make a table of so many takes long, and others have to wait.
_MAX_COLONS = 1_000_000

_LONG_BODY = 8 * 1024

_typed = msgspec.json.Decoder(_Typed)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks for. `fields` are the body's own bytes by top-level name.

    `named_objects` are the provider's objects that it names, and `models` those that it may run
    beside its own or in its place; `keeps_answer`: a later call may name its answer; `compacts`:
    the model may read it all once more, to shorten it.
    """

    model: str
    stream: bool
    max_output_tokens: int | None
    answers: int = 1
    service_tier: str | None = None
    client_user: str | None = None
    wants_usage: bool = True
    named_objects: tuple[NamedObject, ...] = ()
    models: tuple[NamedModel, ...] = ()
    keeps_answer: bool = False
    compacts: bool = False
    features: BillableFeatures = PLAIN_TEXT
    fields: dict[str, msgspec.Raw]


class MadeObjects(msgspec.Struct, frozen=True):
    """The ids of the answer and of other objects that the call made at the provider."""

    response_id: str | None = None
    objects: tuple[str, ...] = ()


NO_OBJECTS = MadeObjects()


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a format's own shape."""

    status: int
    body: bytes


class StreamReader(Protocol):
    """Follows one stream: which frames go to the client, and the reported usage.

    `done` is set by the frame that ends a whole answer, `failed` by one that reports an error.
    """

    done: bool
    failed: bool

    def read(self, frame: bytes) -> bytes:
        """The frame for the client; empty if the client did not ask for it."""
        ...

    def is_whole(self) -> bool:
        """Whether the answer is whole, although the stream ended without the frame that says so."""
        ...

    def usage(self) -> TokenUsage | None:
        """What the provider reported; None where that lacks anything that came, or the prompt."""
        ...

    def objects(self) -> MadeObjects:
        """The objects that the call made, as far as the stream has named them."""
        ...

    def text(self) -> bytes:
        """The text that no report counts, and unreadable data, for estimating their tokens."""
        ...

    def unkept_bytes(self) -> int:
        """The number of bytes beyond what was kept; estimates include their framing."""
        ...

    def estimate(self, input_tokens: int, output_tokens: int) -> TokenUsage:
        """What was reported, with estimates of the prompt and of the text that no report counts."""
        ...

    def model(self) -> str | None:
        """The model that answers, as the provider names it; None if not named yet."""
        ...

    def was_delivered(self) -> bool:
        """Whether anything came that is charged for: text, or a report of tokens."""
        ...


class Format(Protocol):
    """One client format; a frozen row of the table in `services.gateway.formats`."""

    name: ClientFormat
    path: str
    # Sent to a stream's client until the provider sends its first byte.
    keep_alive: bytes
    headers: FormatHeaders
    # Whether its answers are text, which has output tokens.
    generates: bool
    # Errors that its clients do not know, and get as 400.
    unknown_statuses: frozenset[int]
    # Members of `metadata` that are no tags.
    untagged: frozenset[str]
    # Parameters of the query that reach a provider.
    query_parameters: frozenset[str]

    def decode(self, body: bytes) -> CallRequest:
        """Raises InvalidJSON or InvalidRequest, which name what is wrong."""
        ...

    def upstream_fields(self, request: CallRequest, model: str) -> dict[str, Any]:
        """The body for a provider that speaks this format, with only the necessary changes."""
        ...

    def usage_of_answer(self, body: bytes) -> TokenUsage | None:
        """Raises UpstreamFailed where the answer is not this format's JSON."""
        ...

    def model_of_answer(self, body: bytes) -> str | None:
        """The model that answered, as the provider names it."""
        ...

    def text_of_answer(self, body: bytes) -> bytes:
        """The text of an answer without usage, for estimating its tokens."""
        ...

    def has_failed(self, body: bytes) -> bool:
        """Whether an answer reports a failure, although its status is good."""
        ...

    def objects_of_answer(self, request: CallRequest, body: bytes) -> MadeObjects:
        """The objects that the call made. Raises UpstreamFailed as `usage_of_answer` does."""
        ...

    def reader(self, request: CallRequest) -> StreamReader:
        """Raises UpstreamFailed where the format has no streams."""
        ...

    def error(self, error: AppError, request_id: str) -> ErrorAnswer: ...

    def error_frame(self, error: AppError, request_id: str) -> bytes:
        """The frame by which a stream that has begun reports an error."""
        ...


def check_model_name(name: str) -> None:
    """Names end up in headers and logs, on one line each. Raises InvalidRequest."""
    if not name.isprintable():
        raise InvalidRequest(
            "The model's name has a character that is not printable.", param="model"
        )


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises InvalidJSON, or InvalidRequest with the field that is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = path.strip(".`") or _missing_field(message)
        raise InvalidRequest(_explained(message, param), param=param) from None
    except UNREADABLE as error:
        raise InvalidJSON(f"The request body is not valid JSON: {error}.") from None


def decode_known(
    body: bytes, fields: Mapping[str, msgspec.Raw], decoder: msgspec.json.Decoder[Known]
) -> Known:
    """The members that a struct has, of the body with these fields. Raises as `decode_body`.

    Of a long body they are decoded alone, since all the rest would be gone through once more.
    """
    if len(body) > _LONG_BODY:
        names: tuple[str, ...] = decoder.type.__struct_encode_fields__
        members = [b'"%b":%b' % (name.encode(), fields[name]) for name in names if name in fields]
        body = b"{%b}" % b",".join(members)
    return decode_body(body, decoder)


def decode_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The body's own bytes by top-level name, all of it text. Raises as `decode_body` does."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            # Invalid text would otherwise pass as raw bytes, and break a translation.
            raise InvalidJSON(f"The request body is not valid JSON in UTF-8: {error}.") from None
    is_crowded = len(body) > _MAX_COLONS and body.count(b":") > _MAX_COLONS
    fields = {} if is_crowded else decode_body(body, _fields)
    if is_crowded or len(fields) > _MAX_FIELDS:
        raise InvalidRequest("The request body has too many members.")
    return fields


def decode_answer(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises UpstreamFailed if the provider's answer does not have its format's shape.

    The reason is for the operator, in the exception's cause.
    """
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise UpstreamFailed("The provider's answer cannot be read.") from error


def report_in(raw: msgspec.Raw) -> UsageReport | None:
    """The `usage` object; None if nothing usable was reported."""
    return None if raw in (ABSENT, NULL) else decode_report(raw)


def tier_in_force(reported: str | None, requested: str | None) -> str | None:
    """The service tier of a stream that broke off: as reported, else as requested.

    A requested `auto` counts as unknown, since the provider chooses.
    """
    return requested if reported in (None, "auto") and requested != "auto" else reported


def type_of(frame: bytes) -> bytes:
    """A named event's type: its `event:` line, or else the `type` of its data; empty without."""
    if frame.startswith(b"event:"):
        return frame[6 : frame.find(b"\n")].strip()
    try:
        return _typed.decode(data_of(frame)).type.encode()
    except UNREADABLE:
        return b""


def is_garbled(frame: bytes) -> bool:
    """Whether its data is not JSON; as good as every frame is told to be sound by its end alone."""
    if frame.endswith(_SOUND_ENDS):
        return False
    payload = data_of(frame).strip()
    if payload in (b"", b"[DONE]"):
        return False
    try:
        msgspec.json.decode(payload, type=msgspec.Raw)
    except UNREADABLE:
        return True
    return False


def _missing_field(message: str) -> str | None:
    _, separator, rest = message.partition("missing required field `")
    return rest.split("`")[0] if separator else None


def _explained(message: str, param: str | None) -> str:
    if "missing required field" in message:
        return f"The request body has no '{param}'."
    return message + (f" for '{param}'." if param else ".")
