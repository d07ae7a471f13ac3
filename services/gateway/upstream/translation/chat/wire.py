"""A chat request as it is on the wire: one wide struct for each union.

The structs forbid members that nobody knows, so that none vanishes. Members of history that an
answer had, and that say nothing to a model, are known and ignored.
"""

from typing import Any

import msgspec

ABSENT = msgspec.Raw()
NULL = msgspec.Raw(b"null")
Raw = msgspec.Raw


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class CacheBreakpoint(_Sent, frozen=True):
    mode: str | None = None
    ttl: str | None = None


class ChatCacheControl(_Sent, frozen=True):
    """Anthropic's mark, as gateways and routers take it in chat bodies."""

    type: str | None = None
    ttl: str | None = None


class ImageUrl(_Sent, frozen=True):
    url: str
    detail: str | None = None


class InputAudio(_Sent, frozen=True):
    data: str
    format: str


class File(_Sent, frozen=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ChatPart(_Sent, frozen=True):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: File | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    cache_control: ChatCacheControl | None = None


class FunctionCall(_Sent, frozen=True):
    name: str = ""
    arguments: str | None = None
    parsed_arguments: Raw = ABSENT
    provider_specific_fields: Raw = ABSENT


class CustomCall(msgspec.Struct, frozen=True):
    name: str = ""
    input: str | None = None


class GoogleExtra(msgspec.Struct, frozen=True):
    thought_signature: str | None = None


class CallExtra(msgspec.Struct, frozen=True):
    google: GoogleExtra | None = None


class ChatToolCall(_Sent, frozen=True):
    id: str = ""
    type: str | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    extra_content: CallExtra | None = None
    index: Any = None
    provider_specific_fields: Raw = ABSENT
    cache_control: ChatCacheControl | None = None


class ChatThinking(msgspec.Struct, frozen=True):
    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class ChatMessage(_Sent, frozen=True):
    """The last lines are what answers of several servers carry, and clients send back with them."""

    role: str
    content: str | list[ChatPart] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    function_call: FunctionCall | None = None
    refusal: str | None = None
    audio: Raw = ABSENT
    thinking_blocks: list[ChatThinking] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    cache_control: ChatCacheControl | None = None
    annotations: Raw = ABSENT
    parsed: Raw = ABSENT
    provider_specific_fields: Raw = ABSENT
    reasoning_details: Raw = ABSENT
    images: Raw = ABSENT
    executed_tools: Raw = ABSENT
    id: Raw = ABSENT


class SentFunction(_Sent, frozen=True):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class ChatGrammar(_Sent, frozen=True):
    definition: str
    syntax: str


class CustomFormat(_Sent, frozen=True):
    type: str
    grammar: ChatGrammar | None = None


class SentCustom(_Sent, frozen=True):
    name: str
    description: str | None = None
    format: CustomFormat | None = None


class ToolType(msgspec.Struct, frozen=True):
    type: str


class SentTool(_Sent, frozen=True):
    type: str
    function: SentFunction | None = None
    custom: SentCustom | None = None
    cache_control: ChatCacheControl | None = None
    name: Raw = ABSENT


class NamedTool(msgspec.Struct, frozen=True):
    name: str


class ChosenTool(msgspec.Struct, frozen=True):
    type: str
    function: NamedTool | None = None
    custom: NamedTool | None = None


class AllowedTools(_Sent, frozen=True):
    mode: str
    tools: list[ChosenTool]


class ChatToolChoice(msgspec.Struct, frozen=True):
    type: str
    function: NamedTool | None = None
    custom: NamedTool | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(_Sent, frozen=True):
    name: str
    description: str | None = None
    schema: Raw = ABSENT
    strict: bool | None = None


class ResponseFormat(_Sent, frozen=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class Location(msgspec.Struct, frozen=True, omit_defaults=True):
    """`type` is beside these words in Responses and Messages, and above them in chat."""

    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(_Sent, frozen=True):
    type: str
    approximate: Location


class SearchOptions(_Sent, frozen=True):
    search_context_size: str | None = None
    user_location: UserLocation | None = None
