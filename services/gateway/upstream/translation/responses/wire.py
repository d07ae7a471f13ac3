"""OpenAI's Responses on the wire, as far as they are read.

One struct for all kinds of a union, its members optional: a kind that is not known is told by its
name, not refused by the decoder. What nobody looks into stays the bytes that came.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

ABSENT = msgspec.Raw()
NULL = msgspec.Raw(b"null")


class Breakpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mode: str | None = None
    ttl: str | None = None


class ContentPart(msgspec.Struct, frozen=True):
    """Of a message's content, of a tool's output or of a reasoning item."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    annotations: msgspec.Raw = ABSENT
    logprobs: msgspec.Raw = ABSENT
    prompt_cache_breakpoint: Breakpoint | None = None


class Item(msgspec.Struct, frozen=True, rename={"is_async": "async"}):
    """Of a request's input or of an answer's output. Other kinds give some names other types."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    phase: str | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: str | None = None
    output: str | list[ContentPart] | dict[str, msgspec.Raw] | None = None
    summary: list[ContentPart] | None = None
    encrypted_content: str | None = None
    caller: msgspec.Raw = ABSENT
    is_async: bool | None = None
    tools: msgspec.Raw = ABSENT
    # Of items as they came from an answer; they say nothing to a model.
    status: msgspec.Raw = ABSENT
    created_by: msgspec.Raw = ABSENT


class StrictPart(ContentPart, frozen=True, forbid_unknown_fields=True):
    """One of which nothing would be lost."""


class StrictItem(Item, frozen=True, forbid_unknown_fields=True):
    """One of which nothing would be lost: as good as all are."""

    content: str | list[StrictPart] | None = None  # type: ignore[assignment]  # narrower
    output: str | list[StrictPart] | dict[str, msgspec.Raw] | None = None  # type: ignore[assignment]
    summary: list[StrictPart] | None = None  # type: ignore[assignment]


class PlainFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function with only members that every format can express, as nearly all are."""

    type: Literal["function"]
    name: str
    parameters: msgspec.Raw = ABSENT
    description: str | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class TextFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str = ""
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class ResponsesToolChoice(msgspec.Struct, frozen=True):
    type: str = ""
    name: str | None = None
    mode: str | None = None
    tools: "list[ResponsesToolChoice] | None" = None


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str = ""
    syntax: str | None = None
    definition: str | None = None


class Filters(msgspec.Struct, frozen=True):
    allowed_domains: tuple[str, ...] | None = None


class TypedItem(msgspec.Struct, frozen=True):
    type: str = ""


TEXT = msgspec.json.Decoder(str)
WHOLE = msgspec.json.Decoder(int)
NUMBER = msgspec.json.Decoder(float)
TRUTH = msgspec.json.Decoder(bool)
TEXTS = msgspec.json.Decoder(list[str])
INPUT = msgspec.json.Decoder(str | list[Item])
STRICT_INPUT = msgspec.json.Decoder(str | list[StrictItem])
RAWS = msgspec.json.Decoder(list[msgspec.Raw])
MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
PLAIN_FUNCTION = msgspec.json.Decoder(PlainFunction)
PLAIN_FUNCTIONS = msgspec.json.Decoder(list[PlainFunction])
TOOLS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
REASONING = msgspec.json.Decoder(Reasoning)
FORMAT = msgspec.json.Decoder(TextFormat)
CHOICE = msgspec.json.Decoder(str | ResponsesToolChoice)
GRAMMAR = msgspec.json.Decoder(Grammar)
FILTERS = msgspec.json.Decoder(Filters)
TYPED = msgspec.json.Decoder(TypedItem)


def present(fields: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw | None:
    """None for a member that is missing or null."""
    raw = fields.get(name)
    return None if raw is None or raw == NULL else raw
