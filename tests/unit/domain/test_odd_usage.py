"""Reports that contradict themselves, or cannot be read: what is known is kept.

Each row says where such a report was seen.
"""

from decimal import Decimal
from typing import Any

import pytest

from libs.common.schemas.usage import TokenUsage
from tests.unit.domain.test_usage import chat, message

# Reported beside the other tokens, as xAI, Gemini's OpenAI form and Perplexity do.
BESIDE: list[tuple[dict[str, Any], TokenUsage]] = [
    (  # xAI's documented example: the total is the sum of all three.
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        TokenUsage(input_text=32, output_text=9, reasoning=94),
    ),
    (  # An answer of xAI whose `cost_in_usd_ticks` agrees with the sum (inspect_ai issue 5528).
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        TokenUsage(input_text=9992, cache_read=128, output_text=1499, reasoning=2809),
    ),
    (  # The same with fewer thoughts than words: only the total tells.
        {
            "prompt_tokens": 10120,
            "completion_tokens": 4000,
            "total_tokens": 16929,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        TokenUsage(input_text=9992, cache_read=128, output_text=4000, reasoning=2809),
    ),
    (  # Responses, by the same rule.
        {
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1500,
            "output_tokens_details": {"reasoning_tokens": 400},
        },
        TokenUsage(input_text=1000, output_text=100, reasoning=400),
    ),
    (  # OpenAI itself: reasoning is inside.
        {
            "prompt_tokens": 100,
            "completion_tokens": 500,
            "total_tokens": 600,
            "completion_tokens_details": {"reasoning_tokens": 400},
        },
        TokenUsage(input_text=100, output_text=100, reasoning=400),
    ),
    (  # Thoughts in the total alone (Gemini's OpenAI form).
        {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
        TokenUsage(input_text=20, output_text=603, notes=("output_from_total",)),
    ),
    (  # The total is more than the sum of what is told: the rest is output as well.
        {
            "prompt_tokens": 10,
            "completion_tokens": 20,
            "total_tokens": 100,
            "completion_tokens_details": {"reasoning_tokens": 30},
        },
        TokenUsage(input_text=10, output_text=60, reasoning=30, notes=("output_from_total",)),
    ),
    (  # sonar-deep-research, from Perplexity's reference.
        {
            "prompt_tokens": 19,
            "completion_tokens": 498,
            "total_tokens": 517,
            "citation_tokens": 10175,
            "num_search_queries": 48,
            "reasoning_tokens": 95305,
        },
        TokenUsage(
            input_text=19, citation=10175, output_text=498, reasoning=95305, web_searches=48
        ),
    ),
]


@pytest.mark.parametrize(("payload", "expected"), BESIDE)
def test_the_stated_total_counts(payload: dict[str, Any], expected: TokenUsage) -> None:
    assert chat(payload) == expected


CACHED: list[tuple[dict[str, Any], TokenUsage]] = [
    (  # DeepSeek's reference: hits and misses are the prompt.
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "prompt_cache_hit_tokens": 900,
            "prompt_cache_miss_tokens": 100,
        },
        TokenUsage(input_text=100, cache_read=900, output_text=50),
    ),
    (
        {
            "completion_tokens": 50,
            "prompt_cache_hit_tokens": 900,
            "prompt_cache_miss_tokens": 100,
        },
        TokenUsage(input_text=100, cache_read=900, output_text=50),
    ),
    (  # As Moonshot is reported to write it.
        {"prompt_tokens": 1000, "completion_tokens": 50, "cached_tokens": 900},
        TokenUsage(input_text=100, cache_read=900, output_text=50),
    ),
    (  # Two names for one count.
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "prompt_cache_hit_tokens": 900,
            "prompt_tokens_details": {"cached_tokens": 900},
        },
        TokenUsage(input_text=100, cache_read=900, output_text=50),
    ),
]


@pytest.mark.parametrize(("payload", "expected"), CACHED)
def test_cached_tokens_are_read_by_all_their_names(
    payload: dict[str, Any], expected: TokenUsage
) -> None:
    assert chat(payload) == expected


WRITES: list[tuple[dict[str, Any], dict[str, int]]] = [
    # OpenAI's types (`ResponseUsage`): what is written, and of it by retention.
    ({"cache_write_tokens": 300}, {"cache_write_30m": 300}),
    (
        {
            "cache_write_tokens": 300,
            "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 200},
        },
        {"cache_write_30m": 100, "cache_write_12h": 200},
    ),
    (
        {"cache_write_tokens": 300, "cache_write_tokens_details": {"ttl_12h_tokens": 200}},
        {"cache_write_30m": 100, "cache_write_12h": 200},
    ),
    # The gateway's own translation of Anthropic's.
    (
        {"cache_write_tokens": 300, "cache_write_1h_tokens": 100},
        {"cache_write_5m": 200, "cache_write_1h": 100},
    ),
    ({"cache_write_tokens": 300, "cache_write_5m_tokens": 300}, {"cache_write_5m": 300}),
]


@pytest.mark.parametrize(("details", "written"), WRITES)
def test_cache_writes_are_classes_by_their_retention(
    details: dict[str, Any], written: dict[str, Any]
) -> None:
    payload = {"prompt_tokens": 1000, "completion_tokens": 5, "prompt_tokens_details": details}
    assert chat(payload) == TokenUsage(input_text=700, output_text=5, **written)


CLAMPED: list[tuple[dict[str, Any], TokenUsage]] = [
    (
        {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 1200}},
        TokenUsage(input_text=0, cache_read=1000, output_text=50, notes=("details_clamped",)),
    ),
    (  # Audio that was cached is counted in both.
        {
            "prompt_tokens": 1000,
            "prompt_tokens_details": {"cached_tokens": 1000, "audio_tokens": 600},
        },
        TokenUsage(
            input_text=0,
            input_audio=600,
            cache_read=400,
            output_text=50,
            notes=("details_clamped",),
        ),
    ),
    (
        {"prompt_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 60}},
        TokenUsage(input_text=10, output_text=0, reasoning=50, notes=("details_clamped",)),
    ),
]


@pytest.mark.parametrize(("payload", "expected"), CLAMPED)
def test_details_stay_within_their_totals(payload: dict[str, Any], expected: TokenUsage) -> None:
    assert chat({"completion_tokens": 50} | payload) == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [(1000.0, 1000), ("1000", 1000), (999.2, 1000), (1_000_000_000, 1_000_000_000)],
)
def test_numbers_written_in_another_way_are_read(written: Any, read: int) -> None:
    expected = TokenUsage(input_text=read, output_text=5)
    assert chat({"prompt_tokens": written, "completion_tokens": 5}) == expected
    assert message({"input_tokens": written, "output_tokens": 5}) == expected


@pytest.mark.parametrize("odd", [-1, -0.5, True, "many", "-1", [], {}, 10**18, 2**70, 1e30])
def test_an_unreadable_count_counts_as_not_reported(odd: Any) -> None:
    expected = TokenUsage(output_text=5, notes=("count_unreadable",))
    assert chat({"prompt_tokens": odd, "completion_tokens": 5}) == expected
    assert message({"input_tokens": odd, "output_tokens": 5}) == expected


@pytest.mark.parametrize("odd", [None, -1, True, "many", [], {}, 10**18])
def test_an_odd_member_spoils_no_member_beside_it(odd: Any) -> None:
    """In every member that anybody reports."""
    base = {"prompt_tokens": 1000, "completion_tokens": 50}
    for name in (
        "total_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "reasoning_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "server_tool_use",
        "server_side_tool_usage_details",
        "cost",
        "cost_in_usd_ticks",
        "speed",
    ):
        usage = chat(base | {name: odd})
        assert (usage.input_text, usage.output_text) == (1000, 50), name
    for name in ("cached_tokens", "audio_tokens", "cache_write_tokens", "image_tokens"):
        usage = chat(base | {"prompt_tokens_details": {name: odd}})
        assert (usage.input_text, usage.output_text) == (1000, 50), name
    anthropic = {"input_tokens": 1000, "output_tokens": 50}
    for name in (
        "cache_creation",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens_details",
        "server_tool_use",
        "iterations",
        "service_tier",
    ):
        usage = message(anthropic | {name: odd})
        assert (usage.input_text, usage.output_text) == (1000, 50), name


def test_thinking_and_cache_writes_beyond_their_totals_are_kept() -> None:
    usage = message(
        {
            "input_tokens": 5,
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 6},
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_1h_input_tokens": 6},
        }
    )
    assert usage == TokenUsage(
        input_text=5,
        cache_write_5m=0,
        cache_write_1h=6,
        output_text=0,
        reasoning=5,
        notes=("details_clamped",),
    )


# An answer of xAI's that a user published: 1e-10 USD are a tick.
GROK = {
    "input_tokens": 7583,
    "input_tokens_details": {"cached_tokens": 3072},
    "output_tokens": 3192,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10775,
    "cost_in_usd_ticks": 292331500,
    "server_side_tool_usage_details": {
        "web_search_calls": 1,
        "x_search_calls": 3,
        "code_interpreter_calls": 2,
        "file_search_calls": 0,
        "mcp_calls": 4,
        "document_search_calls": 5,
        "x_posts_fetched": 6,
    },
}


def test_charged_tools_and_cost_of_xai_are_read() -> None:
    assert chat(GROK) == TokenUsage(
        input_text=4511,
        cache_read=3072,
        output_text=3192,
        reasoning=0,
        web_searches=1,
        tool_uses={
            "x_search": 3,
            "code_execution": 2,
            "attachment_search": 5,
            "x_posts_fetched": 6,
        },
        provider_cost_usd=Decimal("0.02923315"),
    )


def test_odd_names_of_tools_can_be_kept() -> None:
    odd = {"$inc_calls": 2, "a.b_calls": 3, "": 1, "x" * 99: 1, "Ünlü": 1, "new_tool_calls": 7}
    many = {f"tool_{number}_calls": 1 for number in range(500)}
    usage = chat({"prompt_tokens": 1, "server_side_tool_usage_details": odd})
    assert usage.tool_uses == {"other": 3, "new_tool": 7}
    usage = chat({"prompt_tokens": 1, "server_side_tool_usage_details": many})
    assert (len(usage.tool_uses), usage.tool_uses["other"]) == (64, 437)


@pytest.mark.parametrize(
    ("reported", "usd"),
    [
        ({"cost": 0.005411}, "0.005411"),  # OpenRouter, in credits that are USD.
        ({"cost": 0}, "0"),
        ({"cost": {"total_cost": 0.55, "request_cost": 0.24}}, "0.55"),  # Perplexity.
        ({"cost_in_usd_ticks": 1}, "1E-10"),
        ({"cost_in_usd_ticks": 1575680000000}, "157.568"),
        ({"cost_in_usd_ticks": 37756000, "cost": 9}, "0.0037756"),
        ({"cost": 1e-9}, "1E-9"),
    ],
)
def test_the_provider_s_own_cost_is_read_exactly(reported: dict[str, Any], usd: str) -> None:
    payload = {"prompt_tokens": 9, "completion_tokens": 402, **reported}
    assert chat(payload).provider_cost_usd == Decimal(usd)
    assert message({"input_tokens": 9, **reported}).provider_cost_usd == Decimal(usd)


@pytest.mark.parametrize("odd", [-1, True, "1", "free", [], {}, {"total_cost": "x"}, 10**12])
def test_an_unreadable_cost_counts_as_not_reported(odd: Any) -> None:
    assert chat({"prompt_tokens": 9, "cost": odd}).provider_cost_usd is None


def test_perplexity_charges_for_the_request_by_what_it_looks_up() -> None:
    usage = chat({"prompt_tokens": 9, "completion_tokens": 4, "search_context_size": "low"})
    assert usage.tool_uses == {"request_low": 1}
