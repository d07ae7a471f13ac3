"""Anthropic's `usage`, whose input excludes tokens read from, or written to, a cache."""

from typing import Any

import msgspec

from libs.common.domain.token_classes import total_output
from libs.common.schemas.usage import TokenUsage

_INPUT = ("input_text", "input_audio", "input_image", "citation")
_WRITTEN_5M = ("cache_write_5m", "cache_write_30m")
_WRITTEN_1H = ("cache_write_1h", "cache_write_12h")
_TIERS = {"default": "standard", "standard": "standard", "priority": "priority", "batch": "batch"}
_SPEEDS = ("standard", "fast")


def of_refusal(usage: TokenUsage | None, *, has_output: bool) -> TokenUsage | None:
    """Anthropic charges nothing for an answer that it refused before any output."""
    if usage is None or has_output:
        return usage
    return msgspec.structs.replace(usage, unbilled=True)


def written_usage(usage: TokenUsage | None) -> dict[str, Any]:
    """Its clients demand integers: zeros where nothing is known.

    Times that Anthropic's caches do not have count to the next shorter one.
    """
    usage = TokenUsage() if usage is None else usage
    cache_write_5m, cache_write_1h = _sum(usage, _WRITTEN_5M), _sum(usage, _WRITTEN_1H)
    members: dict[str, Any] = {
        "input_tokens": _sum(usage, _INPUT),
        "cache_creation_input_tokens": cache_write_5m + cache_write_1h,
        "cache_read_input_tokens": usage.cache_read or 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": cache_write_5m,
            "ephemeral_1h_input_tokens": cache_write_1h,
        },
        "output_tokens": total_output(usage),
        "service_tier": _TIERS.get(usage.service_tier or ""),
    }
    if usage.reasoning is not None:
        members["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.web_searches:
        members["server_tool_use"] = {
            "web_search_requests": usage.web_searches,
            "web_fetch_requests": 0,
        }
    if usage.speed in _SPEEDS:
        members["speed"] = usage.speed
    if usage.inference_geo is not None:
        members["inference_geo"] = usage.inference_geo
    return members


def _sum(usage: TokenUsage, names: tuple[str, ...]) -> int:
    return sum(getattr(usage, name) or 0 for name in names)
