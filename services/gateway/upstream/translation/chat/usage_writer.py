"""Writes a call's usage as chat tells it, with the gateway's own names for others' classes."""

from typing import Any

from libs.common.domain.token_classes import total_input, total_output
from libs.common.schemas.usage import TokenUsage

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
# Where nobody reports them they are 0, as OpenAI tells them.
_INPUT = {"cached_tokens": "cache_read", "audio_tokens": "input_audio"}
_OUTPUT = {"reasoning_tokens": "reasoning", "audio_tokens": "output_audio"}
_WRITES = ("cache_write_5m", "cache_write_1h", "cache_write_30m", "cache_write_12h")
# By the names that chat's usage is read by.
_ANTHROPIC_WRITES = {
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
}
_OPENAI_WRITES = {"ttl_30m_tokens": "cache_write_30m", "ttl_12h_tokens": "cache_write_12h"}


def write_usage(usage: TokenUsage | None) -> dict[str, Any] | None:
    """None where no tokens were reported."""
    if usage is None:
        return None
    prompt, completion = total_input(usage), total_output(usage)
    if not prompt and not completion:
        return None
    inputs = {name: getattr(usage, ours) or 0 for name, ours in _INPUT.items()}
    if usage.input_image is not None:
        inputs["image_tokens"] = usage.input_image
    outputs = {name: getattr(usage, ours) or 0 for name, ours in _OUTPUT.items()}
    if usage.output_image is not None:
        outputs["image_tokens"] = usage.output_image
    written: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": inputs | _writes(usage),
        "completion_tokens_details": outputs,
    }
    if usage.web_searches is not None:
        written["server_tool_use"] = {"web_search_requests": usage.web_searches}
    for name in ("speed", "inference_geo"):
        if (word := getattr(usage, name)) is not None:
            written[name] = word
    return written


def tier_of(said: str | None) -> str | None:
    """As chat has it; None for a word that it does not have."""
    tier = "default" if said == "standard" else said
    return tier if tier in _TIERS else None


def _writes(usage: TokenUsage) -> dict[str, Any]:
    counts = [count for name in _WRITES if (count := getattr(usage, name)) is not None]
    if not counts:
        return {}
    details: dict[str, Any] = {"cache_write_tokens": sum(counts)}
    details |= _reported(usage, _ANTHROPIC_WRITES)
    if by_time := _reported(usage, _OPENAI_WRITES):
        details["cache_write_tokens_details"] = by_time
    return details


def _reported(usage: TokenUsage, names: dict[str, str]) -> dict[str, int]:
    return {
        name: count for name, ours in names.items() if (count := getattr(usage, ours)) is not None
    }
