"""The conversation that all formats are read into and written from.

A turn or part knows where the client put it: `at` is its index in what the client sent, (3,) for
`messages[3]`, (3, 1) for its second part, from which the client format's `Paths` make a name when
something is refused. JSON that nobody looks into stays `msgspec.Raw`, the client's own bytes.
None = not said. A thing that one provider minted carries its family, and goes to no other.
"""

from typing import Literal

import msgspec

from libs.common.schemas.profile import EffortLevel

# Who minted a seal or an id: a provider's family; "none" is thinking that nobody signed.
Family = str
At = tuple[int, ...]
Effort = EffortLevel
TurnRole = Literal["system", "developer", "user", "assistant"]


class Seal(msgspec.Struct, frozen=True):
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


class Document(_Part, frozen=True, kw_only=True):
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
    """What the model said when it declined."""

    text: str


class SearchResult(_Part, frozen=True, kw_only=True):
    source: str
    title: str
    parts: tuple[Text, ...]
    citable: bool | None = None
    cache: CacheMark | None = None


class ToolCall(_Part, frozen=True, kw_only=True):
    """A call of one of the client's tools. `arguments` is the text that came, never parsed.

    `is_freeform`: a custom tool, whose input is no JSON. `seal`: Gemini signs its calls.
    `caller` and other members that only the own family knows are in `extra`.
    """

    id: str
    name: str
    arguments: str
    namespace: str | None = None
    is_freeform: bool = False
    seal: Seal | None = None
    item_id: str | None = None
    cache: CacheMark | None = None
    extra: dict[str, msgspec.Raw] = {}


class Result(_Part, frozen=True, kw_only=True):
    """What the client's tool gave back; `has_failed` is Anthropic's `is_error`."""

    call_id: str
    parts: "tuple[Part, ...]"
    has_failed: bool | None = None
    is_freeform: bool = False
    cache: CacheMark | None = None
    name: str | None = None
    extra: dict[str, msgspec.Raw] = {}


class Thinking(_Part, frozen=True, kw_only=True):
    """`text` is the thought itself, `summaries` what a provider tells of one that it keeps.

    `is_redacted`: the seal is all there is.
    """

    text: str = ""
    summaries: tuple[str, ...] = ()
    seal: Seal | None = None
    is_redacted: bool = False
    item_id: str | None = None


class Hosted(_Part, frozen=True, kw_only=True):
    """A tool that the provider ran, `kind` such as `web_search`: its call, or its result."""

    kind: str
    raw: msgspec.Raw
    family: Family
    id: str | None = None


class Opaque(_Part, frozen=True, kw_only=True):
    """What no other format has a word for: refused by kind and path."""

    kind: str
    raw: msgspec.Raw
    family: Family


Part = (
    Text
    | Image
    | Document
    | Audio
    | Refusal
    | SearchResult
    | ToolCall
    | Result
    | Thinking
    | Hosted
    | Opaque
)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Tool results are parts of a user turn, as in Anthropic's format.

    `phase` is OpenAI's `commentary` or `final_answer`, `name` the speaker's.
    """

    role: TurnRole
    parts: tuple[Part, ...]
    at: At = ()
    name: str | None = None
    phase: str | None = None


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """`extra`: members that only the own family knows, such as `input_examples`, by name.

    `hints` are such that other formats leave out, as nothing that was asked depends on them.
    `at` is the tool's index in the client's list and, within a namespace, the one there; the first
    is negative where it stands elsewhere.
    """

    name: str
    at: At
    schema: msgspec.Raw | None = None
    namespace: str | None = None
    namespace_description: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache: CacheMark | None = None
    extra: dict[str, msgspec.Raw] = {}
    hints: dict[str, msgspec.Raw] = {}


class Freeform(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's custom tool; `syntax` lark or regex of its `grammar`, both None for plain text."""

    name: str
    at: At
    namespace: str | None = None
    namespace_description: str | None = None
    description: str | None = None
    syntax: str | None = None
    grammar: str | None = None
    extra: dict[str, msgspec.Raw] = {}


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's web search. `location` as both families write it: city, country, region...

    `version` is Anthropic's own name of the tool, such as `web_search_20250305`.
    """

    at: At
    domains: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    max_uses: int | None = None
    location: msgspec.Raw | None = None
    context_size: str | None = None
    is_preview: bool = False
    version: str | None = None
    extra: dict[str, msgspec.Raw] = {}
    hints: dict[str, msgspec.Raw] = {}


class HostedTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that only the provider of `family` can run, or whose schema only its models know."""

    kind: str
    at: At
    raw: msgspec.Raw
    family: Family


Tool = Function | Freeform | Search | HostedTool


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """`required` with one name: that tool and no other. Several names: one of those.

    `kind` is the type of a choice that only one family knows.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    kind: str | None = None


class OutputLimits(msgspec.Struct, frozen=True, kw_only=True):
    output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    answers: int = 1
    hosted_calls: int | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """`wants_logprobs` without `top_logprobs` is those of the chosen tokens alone."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence: float | None = None
    frequency: float | None = None
    logit_bias: msgspec.Raw | None = None
    wants_logprobs: bool = False
    top_logprobs: int | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How the model shall think. `auto` is Anthropic's adaptive thinking.

    `summary` auto, concise or detailed; `is_shown` is Anthropic's `display`.
    """

    mode: Literal["off", "auto", "on", "between_tools"] | None = None
    effort: Effort | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    is_shown: bool | None = None


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw | None = None
    strict: bool | None = None


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider shall note of the call. `keeps` is OpenAI's `store`."""

    user: str | None = None
    safety_id: str | None = None
    metadata: msgspec.Raw | None = None
    cache_key: str | None = None
    cache_retention: str | None = None
    keeps: bool | None = None
    tier: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `extra` has the top-level fields that other formats have no word for, and refuse.

    `hints` has those whose lack changes nothing that was asked: other formats leave them out.

    `auto_cache` is Anthropic's top-level `cache_control`.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: ToolChoice | None = None
    parallel: bool | None = None
    limits: OutputLimits = OutputLimits()
    sampling: Sampling = Sampling()
    thinking: Wish = Wish()
    shape: Shape | None = None
    verbosity: str | None = None
    labels: Labels = Labels()
    auto_cache: CacheMark | None = None
    stream: bool = False
    wants_usage: bool = True
    # The client sent OpenAI's first form of tools, `functions`, and gets it back.
    has_legacy_functions: bool = False
    extra: dict[str, msgspec.Raw] = {}
    hints: dict[str, msgspec.Raw] = {}
