"""Anthropic's Messages format as it is on the wire.

What clients send is read strictly: a member that is not in a struct is refused by its path, as
Anthropic refuses it. What providers send is read leniently: servers that speak the format say more,
and less. Schemas, inputs and whatever nobody looks into stay the bytes that came.
"""

from typing import Annotated, Literal

import msgspec

from services.gateway.formats.base import ABSENT

Raw = msgspec.Raw


class _Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a client."""


class _Block(_Sent, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A content block, told by its `type`."""


class CacheControl(_Sent, frozen=True, kw_only=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class _Citations(_Sent, frozen=True, kw_only=True):
    enabled: bool | None = None


class Base64Source(_Block, frozen=True, kw_only=True, tag="base64"):
    media_type: str
    data: str


class UrlSource(_Block, frozen=True, kw_only=True, tag="url"):
    url: str


class FileSource(_Block, frozen=True, kw_only=True, tag="file"):
    file_id: str


class TextSource(_Block, frozen=True, kw_only=True, tag="text"):
    media_type: Literal["text/plain"]
    data: str


class TextBlock(_Block, frozen=True, kw_only=True, tag="text"):
    text: str
    cache_control: CacheControl | None = None
    citations: Raw = ABSENT


class ImageBlock(_Block, frozen=True, kw_only=True, tag="image"):
    source: Base64Source | UrlSource | FileSource
    cache_control: CacheControl | None = None


class ContentSource(_Block, frozen=True, kw_only=True, tag="content"):
    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(_Block, frozen=True, kw_only=True, tag="document"):
    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: _Citations | None = None
    cache_control: CacheControl | None = None


class SearchResultBlock(_Block, frozen=True, kw_only=True, tag="search_result"):
    source: str
    title: str
    content: list[TextBlock]
    citations: _Citations | None = None
    cache_control: CacheControl | None = None


class ToolUseBlock(_Block, frozen=True, kw_only=True, tag="tool_use"):
    id: str
    name: str
    input: Raw
    caller: Raw = ABSENT
    toolset_name: Raw = ABSENT
    cache_control: CacheControl | None = None


class ThinkingBlock(_Block, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(_Block, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: str


ResultPart = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock


class ToolResultBlock(_Block, frozen=True, kw_only=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[ResultPart] | None = None
    is_error: bool | None = None
    toolset_name: Raw = ABSENT
    cache_control: CacheControl | None = None


class RawToolResultBlock(_Block, frozen=True, kw_only=True, tag="tool_result"):
    """One whose content has to be read part by part."""

    tool_use_id: str
    content: str | list[Raw] | None = None
    is_error: bool | None = None
    toolset_name: Raw = ABSENT
    cache_control: CacheControl | None = None


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
)
_Role = Literal["user", "assistant", "system"]


class Message(_Sent, frozen=True, kw_only=True):
    role: _Role
    content: str | list[Block]


class RawMessage(_Sent, frozen=True, kw_only=True):
    """One whose content has to be read block by block."""

    role: _Role
    content: str | list[Raw]


class CustomTool(_Sent, frozen=True, kw_only=True):
    """`input_examples` and what follows are told from one another by their bytes alone."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    input_schema: Raw
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    input_examples: Raw = ABSENT
    allowed_callers: Raw = ABSENT
    defer_loading: Raw = ABSENT
    eager_input_streaming: Raw = ABSENT


class WebSearchTool(_Sent, frozen=True, kw_only=True):
    type: str
    name: Literal["web_search"]
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    max_uses: int | None = None
    user_location: Raw = ABSENT
    allowed_callers: Raw = ABSENT
    defer_loading: Raw = ABSENT
    strict: Raw = ABSENT
    response_inclusion: Raw = ABSENT
    cache_control: Raw = ABSENT


class MessagesToolChoice(_Sent, frozen=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(_Sent, frozen=True, kw_only=True):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(_Sent, frozen=True, kw_only=True):
    type: Literal["json_schema"]
    schema: Raw


class _Edit(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""


class ContextManagement(msgspec.Struct, frozen=True, kw_only=True):
    edits: list[_Edit] | None = None


class BlockHead(msgspec.Struct, frozen=True):
    """The `type` of a block or a tool; a tool may lack it."""

    type: str | None = None
    name: str | None = None
    id: str | None = None
    tool_use_id: str | None = None


class StopDetails(msgspec.Struct, frozen=True):
    category: str | None = None
    explanation: str | None = None


class AnswerBlock(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    text: str | None = None
    citations: Raw = ABSENT
    thinking: str | None = None
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = ABSENT
    caller: Raw = ABSENT
    toolset_name: Raw = ABSENT


class MessageObject(msgspec.Struct, frozen=True, kw_only=True):
    """A whole message, or one at its beginning; or an error in its place."""

    id: str = ""
    model: str = ""
    content: list[Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: Raw = ABSENT
    container: Raw = ABSENT
    context_management: Raw = ABSENT
    error: Raw = ABSENT


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """Of a block, or of the message itself."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    content: Raw = ABSENT
    citation: Raw = ABSENT
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    container: Raw = ABSENT


class Event(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    index: int = 0
    delta: Delta | None = None
    content_block: Raw = ABSENT
    message: MessageObject | None = None
    usage: Raw = ABSENT
    context_management: Raw = ABSENT
    error: Raw = ABSENT


class Error(msgspec.Struct, frozen=True, kw_only=True):
    type: str | None = None
    message: str | None = None
    details: Raw = ABSENT
