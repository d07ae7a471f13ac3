"""The tools of a conversation, and the model's choice among them."""

from typing import Literal

import msgspec

from services.gateway.upstream.translation.parts import At, CacheMark, Family


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
