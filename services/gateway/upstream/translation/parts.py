"""The parts of a conversation's turns: texts, attachments, calls, results and thoughts.

A part knows where the client put it: `at` is its index in what the client sent, (3, 1) for the
second part of `messages[3]`, from which the client format's `Paths` make a name when something is
refused. JSON that nobody looks into stays `msgspec.Raw`, the client's own bytes. None = not said. A
thing that one provider minted carries its family, and goes to no other.
"""

import msgspec

# Who minted a signature or an id: a provider's family; "none" is thinking that nobody signed.
Family = str
At = tuple[int, ...]


class ThoughtSignature(msgspec.Struct, frozen=True):
    """Proof that a provider gave with its thinking, as it wants it back: its own bytes."""

    family: Family
    data: str


class CacheMark(msgspec.Struct, frozen=True):
    """A prompt cache's end; `ttl_s` 300 or 3600 of Anthropic's, 1800 or 43200 of OpenAI's."""

    ttl_s: int | None = None


class Bytes(msgspec.Struct, frozen=True):
    """`data` is base64."""

    media_type: str
    data: str


class Url(msgspec.Struct, frozen=True):
    url: str


class FileId(msgspec.Struct, frozen=True):
    id: str
    family: Family


class Plain(msgspec.Struct, frozen=True):
    text: str


class Blocks(msgspec.Struct, frozen=True):
    parts: "tuple[Part, ...]"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    at: At = ()


class Text(_Part, frozen=True, kw_only=True):
    """`citations` as the format of `family` has them, a list; written to that format alone."""

    text: str
    cache: CacheMark | None = None
    citations: msgspec.Raw | None = None
    family: Family | None = None


class Image(_Part, frozen=True, kw_only=True):
    """`detail` auto, low, high or original."""

    source: Bytes | Url | FileId
    detail: str | None = None
    cache: CacheMark | None = None


class DocumentPart(_Part, frozen=True, kw_only=True):
    """A PDF, a text or a list of blocks; `citable` is Anthropic's `citations.enabled`."""

    source: Bytes | Url | FileId | Plain | Blocks
    title: str | None = None
    context: str | None = None
    filename: str | None = None
    detail: str | None = None
    citable: bool | None = None
    cache: CacheMark | None = None


class Audio(_Part, frozen=True, kw_only=True):
    """`data` is base64, `format` wav or mp3."""

    data: str
    format: str


class Refusal(_Part, frozen=True, kw_only=True):
    """The model's text when it declined."""

    text: str


class SearchResult(_Part, frozen=True, kw_only=True):
    source: str
    title: str
    parts: tuple[Text, ...]
    citable: bool | None = None
    cache: CacheMark | None = None


class ToolCall(_Part, frozen=True, kw_only=True):
    """A call of one of the client's tools. `arguments` is the text that came, never parsed.

    `is_freeform`: a custom tool, whose input is not JSON. `signature`: Gemini signs its calls.
    `caller` and other members that only the own family knows are in `extra`.
    """

    id: str
    name: str
    arguments: str
    namespace: str | None = None
    is_freeform: bool = False
    signature: ThoughtSignature | None = None
    item_id: str | None = None
    cache: CacheMark | None = None
    extra: dict[str, msgspec.Raw] = {}


class Result(_Part, frozen=True, kw_only=True):
    """A result of the client's tool; `has_failed` is Anthropic's `is_error`."""

    call_id: str
    parts: "tuple[Part, ...]"
    has_failed: bool | None = None
    is_freeform: bool = False
    cache: CacheMark | None = None
    name: str | None = None
    extra: dict[str, msgspec.Raw] = {}


class Thinking(_Part, frozen=True, kw_only=True):
    """`text` is the thought itself, `summaries` what a provider tells of one that it keeps.

    `is_redacted`: the signature is all there is.
    """

    text: str = ""
    summaries: tuple[str, ...] = ()
    signature: ThoughtSignature | None = None
    is_redacted: bool = False
    item_id: str | None = None


class Hosted(_Part, frozen=True, kw_only=True):
    """A tool that the provider ran, `kind` such as `web_search`: its call, or its result."""

    kind: str
    raw: msgspec.Raw
    family: Family
    id: str | None = None


class Opaque(_Part, frozen=True, kw_only=True):
    """A part that no other format can express: refused by kind and path."""

    kind: str
    raw: msgspec.Raw
    family: Family


Part = (
    Text
    | Image
    | DocumentPart
    | Audio
    | Refusal
    | SearchResult
    | ToolCall
    | Result
    | Thinking
    | Hosted
    | Opaque
)
