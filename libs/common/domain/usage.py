"""Reads the usage that providers report into `TokenUsage`, by the convention of the endpoint.

Invariants: the classes do not overlap; the input classes sum to the endpoint's input total and
the output classes to its output total. OpenAI's totals include cached and reasoning tokens,
Anthropic's input counts are additive. The convention is never guessed from the numbers.
"""

from typing import Any

import msgspec

from libs.common.schemas.usage import TokenUsage

# No call is so large. The bound keeps costs within the integers that events and MongoDB can hold.
_MAX_TOKENS = 1_000_000_000


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None


class _ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: int | None = None


class ChatUsage(msgspec.Struct, frozen=True):
    """`usage` of an OpenAI chat completion; a translated one may carry what Anthropic bills by."""

    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    server_tool_use: _ServerToolUse | None = None
    speed: Any = None
    inference_geo: Any = None


class ResponsesUsage(msgspec.Struct, frozen=True):
    """`usage` of an OpenAI response; a translated one may carry more, as the one above."""

    input_tokens: int
    output_tokens: int = 0
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None
    server_tool_use: _ServerToolUse | None = None
    speed: Any = None
    inference_geo: Any = None


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class MessagesUsage(msgspec.Struct, frozen=True):
    """`usage` of an Anthropic message, or what one event of its stream says of it.

    Other servers that speak the format may mean something else by `speed`, which must not spoil
    the counts beside it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: str | None = None
    speed: Any = None
    inference_geo: Any = None

    def merged_with(self, later: "MessagesUsage") -> "MessagesUsage":
        """Counts in a stream are cumulative: the later value that is not null wins."""
        values: dict[str, Any] = {}
        for name in self.__struct_fields__:
            value = getattr(later, name)
            values[name] = getattr(self, name) if value is None else value
        return MessagesUsage(**values)


_NO_DETAILS = _Details()


def usage_of_chat(usage: ChatUsage, service_tier: str | None = None) -> TokenUsage:
    """Raises ValueError where the counts contradict each other."""
    return _inclusive(
        usage,
        usage.prompt_tokens,
        usage.prompt_tokens_details or _NO_DETAILS,
        usage.completion_tokens,
        usage.completion_tokens_details or _NO_DETAILS,
        service_tier,
    )


def usage_of_response(usage: ResponsesUsage, service_tier: str | None = None) -> TokenUsage:
    """Raises ValueError where the counts contradict each other."""
    return _inclusive(
        usage,
        usage.input_tokens,
        usage.input_tokens_details or _NO_DETAILS,
        usage.output_tokens,
        usage.output_tokens_details or _NO_DETAILS,
        service_tier,
    )


def usage_of_message(usage: MessagesUsage) -> TokenUsage:
    """Raises ValueError where the counts contradict each other, or the input is missing."""
    if usage.input_tokens is None or usage.output_tokens is None:
        raise ValueError("the totals are missing")
    written_5m, written_1h = _cache_writes(usage)
    cached = (usage.cache_read_input_tokens, written_5m, written_1h)
    if not any((usage.input_tokens, usage.output_tokens, *cached)):
        # The format has no null here, so this is how a provider's silence is translated into it.
        raise ValueError("nothing is reported")
    search = usage.server_tool_use
    # Anthropic bills thinking as output and reports it as a part of that; older models do not say.
    details = usage.output_tokens_details
    thinking = None if details is None else details.thinking_tokens
    return _checked(
        TokenUsage(
            input_text=usage.input_tokens,
            cache_read=usage.cache_read_input_tokens,
            cache_write_5m=written_5m,
            cache_write_1h=written_1h,
            output_text=usage.output_tokens - _count(thinking),
            reasoning=thinking,
            web_searches=search.web_search_requests if search is not None else None,
            service_tier=usage.service_tier,
            speed=_word(usage.speed),
            inference_geo=_word(usage.inference_geo),
        )
    )


def _cache_writes(usage: MessagesUsage) -> tuple[int | None, int | None]:
    """What the split leaves over of the total written counts as 5-minute writes."""
    total, split = usage.cache_creation_input_tokens, usage.cache_creation
    if split is None:
        return total, None
    written_5m, written_1h = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
    if total is not None:
        rest = total - _count(written_5m) - _count(written_1h)
        if rest < 0:
            raise ValueError("the split of cache_creation_input_tokens exceeds it")
        if rest > 0:
            written_5m = _count(written_5m) + rest
    return written_5m, written_1h


def _inclusive(
    usage: ChatUsage | ResponsesUsage,
    input_total: int,
    input_details: _Details,
    output_total: int,
    output_details: _Details,
    service_tier: str | None,
) -> TokenUsage:
    search = usage.server_tool_use
    written, written_1h = input_details.cache_write_tokens, input_details.cache_write_1h_tokens
    input_parts = (
        input_details.cached_tokens,
        written_1h if written is None else written,
        input_details.audio_tokens,
        input_details.image_tokens,
    )
    output_parts = (
        output_details.reasoning_tokens,
        output_details.audio_tokens,
        output_details.image_tokens,
    )
    return _checked(
        TokenUsage(
            input_text=input_total - sum(filter(None, input_parts)),
            cache_read=input_details.cached_tokens,
            cache_write_5m=None if written is None else written - _count(written_1h),
            cache_write_1h=written_1h,
            input_audio=input_details.audio_tokens,
            input_image=input_details.image_tokens,
            output_text=output_total - sum(filter(None, output_parts)),
            reasoning=output_details.reasoning_tokens,
            output_audio=output_details.audio_tokens,
            output_image=output_details.image_tokens,
            web_searches=None if search is None else search.web_search_requests,
            service_tier=service_tier,
            speed=_word(usage.speed),
            inference_geo=_word(usage.inference_geo),
        )
    )


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(tokens: int | None) -> int:
    return 0 if tokens is None else tokens


def _checked(usage: TokenUsage) -> TokenUsage:
    for name, value in zip(usage.__struct_fields__, msgspec.structs.astuple(usage), strict=True):
        if type(value) is int and not 0 <= value <= _MAX_TOKENS:
            raise ValueError(f"{name} is {'negative' if value < 0 else 'impossible'}")
    return usage
