"""Writes LiteLLM's usage in the convention of the client's format.

LiteLLM keeps one shape for all providers, inclusive like OpenAI's: `prompt_tokens` contains cache
reads and writes, whatever the provider counted. Its own additions (`cost`, copies of the details)
are left out. What OpenAI has no place for but is billed gets a key of its own:
`cache_write_5m_tokens` and `cache_write_1h_tokens` in the input details, and `server_tool_use`,
`speed` and `inference_geo` as Anthropic names them.
"""

from typing import Any

_ANTHROPIC_TIERS = {"default": "standard"}


def chat_usage(usage: Any) -> dict[str, Any] | None:
    """OpenAI's `usage` of a chat completion; None where the provider reported none.

    LiteLLM writes zeros for that, and no call is answered with zero tokens.
    """
    totals = _totals(usage)
    if totals is None:
        return None
    input_total, output_total = totals
    return {
        "prompt_tokens": input_total,
        "completion_tokens": output_total,
        "total_tokens": input_total + output_total,
        "prompt_tokens_details": _input_details(usage),
        "completion_tokens_details": _output_details(usage),
        **_searches(usage),
        **_speed_and_geo(usage),
    }


def responses_usage(usage: Any) -> dict[str, Any] | None:
    """OpenAI's `usage` of a response; None where the provider reported none."""
    totals = _totals(usage)
    if totals is None:
        return None
    input_total, output_total = totals
    return {
        "input_tokens": input_total,
        "input_tokens_details": _input_details(usage),
        "output_tokens": output_total,
        "output_tokens_details": _output_details(usage),
        "total_tokens": input_total + output_total,
        **_searches(usage),
        **_speed_and_geo(usage),
    }


def messages_usage(usage: Any, tier: str | None) -> dict[str, Any]:
    """Anthropic's `usage`, additive; zeros where the provider reported none.

    The format wants numbers and strict clients refuse null, so zeros mean "not reported".
    """
    totals = _totals(usage)
    if totals is None:
        return {"input_tokens": 0, "output_tokens": 0}
    input_total, output_total = totals
    details = _input_details(usage)
    cache_read, cache_write = details["cached_tokens"], details["cache_write_tokens"]
    cache_write_1h = details.get("cache_write_1h_tokens", 0)
    return {
        # A provider that counts reads or writes outside of its total must not make it negative.
        "input_tokens": max(input_total - cache_read - cache_write, 0),
        "cache_creation_input_tokens": cache_write,
        "cache_read_input_tokens": cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": cache_write - cache_write_1h,
            "ephemeral_1h_input_tokens": cache_write_1h,
        },
        "output_tokens": output_total,
        "output_tokens_details": {
            "thinking_tokens": _output_details(usage)["reasoning_tokens"],
        },
        **_searches(usage),
        **_speed_and_geo(usage),
        **({} if tier is None else {"service_tier": _ANTHROPIC_TIERS.get(tier, tier)}),
    }


def served_tier(answer: Any, usage: Any) -> str | None:
    """The service tier that the provider says it served, in OpenAI's words."""
    tier = getattr(answer, "service_tier", None)
    if tier is None:
        tier = getattr(usage, "service_tier", None)
    if not isinstance(tier, str):
        return None
    return "default" if tier == "standard" else tier


def _totals(usage: Any) -> tuple[int, int] | None:
    input_total = _tokens(usage, "prompt_tokens")
    output_total = _tokens(usage, "completion_tokens")
    if input_total is None or output_total is None or input_total + output_total == 0:
        return None
    return input_total, output_total


def _input_details(usage: Any) -> dict[str, int]:
    report = getattr(usage, "prompt_tokens_details", None)
    details = {
        # Typed as required integers by OpenAI's SDK.
        "cached_tokens": _first_count(report, "cached_tokens"),
        "cache_write_tokens": _first_count(report, "cache_write_tokens", "cache_creation_tokens"),
    }
    by_ttl = getattr(report, "cache_creation_token_details", None)
    cache_write_1h = _tokens(by_ttl, "ephemeral_1h_input_tokens")
    if cache_write_1h:
        details["cache_write_1h_tokens"] = cache_write_1h
    if details["cache_write_tokens"] and _tokens(report, "cache_write_tokens") is None:
        # Anthropic's, which LiteLLM tells by this name; OpenAI keeps its own for longer.
        cache_write_5m = details["cache_write_tokens"] - (cache_write_1h or 0)
        details["cache_write_5m_tokens"] = max(cache_write_5m, 0)
    return details | _counts(report, "audio_tokens", "image_tokens")


def _output_details(usage: Any) -> dict[str, int]:
    report = getattr(usage, "completion_tokens_details", None)
    details = {"reasoning_tokens": _first_count(report, "reasoning_tokens")}
    return details | _counts(
        report,
        "audio_tokens",
        "image_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    )


def _searches(usage: Any) -> dict[str, Any]:
    """LiteLLM counts some providers' searches beside their tokens, the others' among them."""
    requests = None
    for place in ("server_tool_use", "prompt_tokens_details"):
        requests = requests or _tokens(getattr(usage, place, None), "web_search_requests")
    return {} if not requests else {"server_tool_use": {"web_search_requests": requests}}


def _speed_and_geo(usage: Any) -> dict[str, str]:
    """How Anthropic says it served the call, where it says so."""
    values = {name: getattr(usage, name, None) for name in ("speed", "inference_geo")}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _counts(report: Any, *names: str) -> dict[str, int]:
    counts = {name: _tokens(report, name) for name in names}
    return {name: count for name, count in counts.items() if count is not None}


def _first_count(report: Any, *names: str) -> int:
    """The first that is reported; a detail that none reports is a part of the total, hence 0."""
    return next(iter(_counts(report, *names).values()), 0)


def _tokens(report: Any, name: str) -> int | None:
    value = getattr(report, name, None)
    return value if isinstance(value, int) else None
