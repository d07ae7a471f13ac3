"""Writes a call's usage as chat tells it, with the gateway's own names for others' classes."""

from typing import Any

from libs.common.domain.token_classes import total_input, total_output
from libs.common.schemas.usage import TokenUsage

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def write_usage(usage: TokenUsage | None) -> dict[str, Any] | None:
    """None where no tokens were reported."""
    if usage is None:
        return None
    prompt, completion = total_input(usage), total_output(usage)
    if not prompt and not completion:
        return None
    # Where nobody reports them they are 0, as OpenAI tells them.
    inputs: dict[str, Any] = {
        "cached_tokens": usage.cache_read or 0,
        "audio_tokens": usage.input_audio or 0,
    }
    if usage.input_image is not None:
        inputs["image_tokens"] = usage.input_image
    _add_writes(usage, inputs)
    outputs = {
        "reasoning_tokens": usage.reasoning or 0,
        "audio_tokens": usage.output_audio or 0,
    }
    if usage.output_image is not None:
        outputs["image_tokens"] = usage.output_image
    members: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
    }
    if usage.web_searches is not None:
        members["server_tool_use"] = {"web_search_requests": usage.web_searches}
    if usage.speed is not None:
        members["speed"] = usage.speed
    if usage.inference_geo is not None:
        members["inference_geo"] = usage.inference_geo
    return members


def tier_of(upstream_tier: str | None) -> str | None:
    """As chat has it; None for a word that it does not have."""
    tier = "default" if upstream_tier == "standard" else upstream_tier
    return tier if tier in _TIERS else None


def _add_writes(usage: TokenUsage, details: dict[str, Any]) -> None:
    """Anthropic's by the names that chat's usage is read by."""
    of_5m, of_1h = usage.cache_write_5m, usage.cache_write_1h
    of_30m, of_12h = usage.cache_write_30m, usage.cache_write_12h
    if of_5m is None and of_1h is None and of_30m is None and of_12h is None:
        return
    details["cache_write_tokens"] = (of_5m or 0) + (of_1h or 0) + (of_30m or 0) + (of_12h or 0)
    if of_5m is not None:
        details["cache_write_5m_tokens"] = of_5m
    if of_1h is not None:
        details["cache_write_1h_tokens"] = of_1h
    by_time: dict[str, int] = {}
    if of_30m is not None:
        by_time["ttl_30m_tokens"] = of_30m
    if of_12h is not None:
        by_time["ttl_12h_tokens"] = of_12h
    if by_time:
        details["cache_write_tokens_details"] = by_time
