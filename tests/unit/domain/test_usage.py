"""The payloads are what the providers send, abridged to their usage."""

from typing import Any

import msgspec
import pytest

from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.reported_counts import UsageReport, decode_report, merged
from libs.common.domain.usage import usage_of_embedding, usage_of_openai
from libs.common.schemas.usage import TokenUsage


def report(payload: dict[str, Any]) -> UsageReport:
    decoded = decode_report(msgspec.json.encode(payload))
    assert decoded is not None
    return decoded


def chat(payload: dict[str, Any], service_tier: str | None = None) -> TokenUsage:
    return usage_of_openai(report(payload), service_tier)


def response(payload: dict[str, Any], service_tier: str | None = None) -> TokenUsage:
    return usage_of_openai(report(payload), service_tier)


def message(payload: dict[str, Any]) -> TokenUsage:
    return usage_of_message(report(payload))


def test_chat_totals_include_their_details() -> None:
    usage = chat(
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 192,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 12,
                "rejected_prediction_tokens": 3,
            },
        },
        "default",
    )
    assert usage == TokenUsage(
        input_text=86,
        cache_read=1920,
        input_audio=0,
        output_text=108,
        reasoning=192,
        output_audio=0,
        service_tier="default",
    )


def test_chat_separates_images_audio_and_cache_writes() -> None:
    usage = chat(
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {
                "text_tokens": 400,
                "cached_tokens": 100,
                "cache_write_tokens": 200,
                "audio_tokens": 130,
                "image_tokens": 170,
            },
            "completion_tokens_details": {"audio_tokens": 60, "image_tokens": 10},
        }
    )
    assert usage == TokenUsage(
        input_text=400,
        cache_read=100,
        cache_write_30m=200,
        input_audio=130,
        input_image=170,
        output_text=30,
        output_audio=60,
        output_image=10,
    )


def test_counts_unreported_by_chat_stay_unknown() -> None:
    payload = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": None}
    assert chat(payload) == TokenUsage(input_text=9, output_text=3)


def test_an_embedding_has_no_output() -> None:
    payload = {"prompt_tokens": 8, "total_tokens": 8}
    assert usage_of_embedding(report(payload)) == TokenUsage(input_text=8, output_text=0)
    # Some servers count in one of the two alone.
    payload = {"prompt_tokens": 0, "total_tokens": 8000}
    assert usage_of_embedding(report(payload)) == TokenUsage(input_text=8000, output_text=0)


def test_zero_is_not_unreported() -> None:
    usage = chat({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}})
    assert usage.cache_read == 0
    assert usage.cache_write_30m is None


def test_responses_totals_include_their_details() -> None:
    usage = response(
        {
            "input_tokens": 328,
            "input_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 0},
            "output_tokens": 52,
            "output_tokens_details": {"reasoning_tokens": 40},
            "total_tokens": 380,
        },
        "priority",
    )
    assert usage == TokenUsage(
        input_text=200,
        cache_read=128,
        cache_write_30m=0,
        output_text=12,
        reasoning=40,
        service_tier="priority",
    )


def test_hour_long_cache_writes_are_a_part_of_all_writes() -> None:
    details = {"cache_write_tokens": 70, "cache_write_1h_tokens": 30}
    usage = chat({"prompt_tokens": 100, "prompt_tokens_details": details})
    assert (usage.input_text, usage.cache_write_5m, usage.cache_write_1h) == (30, 40, 30)


def test_hour_long_cache_writes_alone_are_all_writes() -> None:
    usage = chat({"prompt_tokens": 100, "prompt_tokens_details": {"cache_write_1h_tokens": 30}})
    assert (usage.input_text, usage.cache_write_5m, usage.cache_write_1h) == (70, None, 30)


def test_messages_counts_are_additive() -> None:
    usage = message(
        {
            "input_tokens": 2095,
            "cache_creation_input_tokens": 456,
            "cache_read_input_tokens": 12345,
            "cache_creation": {"ephemeral_5m_input_tokens": 156, "ephemeral_1h_input_tokens": 300},
            "output_tokens": 503,
            "output_tokens_details": {"thinking_tokens": 400},
            "server_tool_use": {"web_search_requests": 2},
            "service_tier": "standard",
        }
    )
    assert usage == TokenUsage(
        input_text=2095,
        cache_read=12345,
        cache_write_5m=156,
        cache_write_1h=300,
        output_text=103,
        reasoning=400,
        web_searches=2,
        service_tier="standard",
    )


@pytest.mark.parametrize(
    ("total", "split", "written_5m", "written_1h"),
    [
        (None, None, None, None),
        (0, None, 0, None),
        (100, None, 100, None),
        (100, {}, 100, None),
        (100, {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}, 100, 0),
        (100, {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100}, 0, 100),
        # What the split leaves over was written for five minutes.
        (100, {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, 80, 20),
        (100, {"ephemeral_1h_input_tokens": 20}, 80, 20),
        (None, {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}, 10, 20),
    ],
)
def test_cache_writes_are_split_by_how_long_they_live(
    total: int | None,
    split: dict[str, int] | None,
    written_5m: int | None,
    written_1h: int | None,
) -> None:
    usage = message(
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": total,
            "cache_creation": split,
        }
    )
    assert (usage.cache_write_5m, usage.cache_write_1h) == (written_5m, written_1h)


def test_the_larger_count_of_a_stream_wins() -> None:
    start = {
        "input_tokens": 25,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 7,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    deltas: list[dict[str, Any]] = [
        {"output_tokens": 15},
        {
            "input_tokens": 10682,
            "cache_read_input_tokens": None,
            "output_tokens": 510,
            "output_tokens_details": {"thinking_tokens": 100},
            "server_tool_use": {"web_search_requests": 1},
        },
    ]
    usage = report(start)
    for delta in deltas:
        usage = merged(usage, report(delta))
    assert usage_of_message(usage) == TokenUsage(
        input_text=10682,
        cache_read=7,
        cache_write_5m=0,
        output_text=410,
        reasoning=100,
        web_searches=1,
        service_tier="standard",
    )


def test_how_a_message_was_served_is_kept() -> None:
    counts = {"input_tokens": 5, "output_tokens": 2}
    usage = message(counts | {"speed": "fast", "inference_geo": "us"})
    assert (usage.speed, usage.inference_geo) == ("fast", "us")
    silent = message(counts)
    assert (silent.speed, silent.inference_geo) == (None, None)
    start = report(counts | {"speed": "fast", "inference_geo": "us"})
    delta = report({"output_tokens": 9, "inference_geo": None})
    assert usage_of_message(merged(start, delta)) == TokenUsage(
        input_text=5, output_text=9, speed="fast", inference_geo="us"
    )


@pytest.mark.parametrize("odd", [12.5, {"tokens_per_second": 80}, ["fast"], True])
def test_an_unexpected_speed_does_not_affect_the_counts(odd: Any) -> None:
    terms = {"speed": odd, "inference_geo": odd}
    counts = TokenUsage(input_text=5, output_text=2)
    assert message({"input_tokens": 5, "output_tokens": 2, **terms}) == counts
    assert chat({"prompt_tokens": 5, "completion_tokens": 2, **terms}) == counts
    assert response({"input_tokens": 5, "output_tokens": 2, **terms}) == counts


def test_how_a_translated_message_was_served_is_kept() -> None:
    terms = {"speed": "fast", "inference_geo": "us"}
    for usage in (
        chat({"prompt_tokens": 5, "completion_tokens": 2, **terms}),
        response({"input_tokens": 5, "output_tokens": 2, **terms}),
    ):
        assert usage == TokenUsage(input_text=5, output_text=2, speed="fast", inference_geo="us")


def test_an_unreported_side_stays_unknown() -> None:
    assert message({"input_tokens": 3}) == TokenUsage(input_text=3)
    assert message({"output_tokens": 3}) == TokenUsage(output_text=3)
    assert chat({"prompt_tokens": 3}) == TokenUsage(input_text=3)
    assert message({}) == chat({}) == TokenUsage()


def test_searches_of_a_translated_answer_are_counted() -> None:
    searches = {"server_tool_use": {"web_search_requests": 2}}
    assert chat({"prompt_tokens": 5, "completion_tokens": 1, **searches}).web_searches == 2
    assert response({"input_tokens": 5, "output_tokens": 1, **searches}).web_searches == 2
