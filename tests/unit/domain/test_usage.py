"""The payloads are what the providers send, abridged to their usage."""

from typing import Any

import msgspec
import pytest

from libs.common.domain.usage import (
    ChatUsage,
    MessagesUsage,
    ResponsesUsage,
    usage_of_chat,
    usage_of_message,
    usage_of_response,
)
from libs.common.schemas.usage import TokenUsage


def chat(payload: dict[str, Any], service_tier: str | None = None) -> TokenUsage:
    usage = msgspec.json.decode(msgspec.json.encode(payload), type=ChatUsage)
    return usage_of_chat(usage, service_tier)


def response(payload: dict[str, Any], service_tier: str | None = None) -> TokenUsage:
    usage = msgspec.json.decode(msgspec.json.encode(payload), type=ResponsesUsage)
    return usage_of_response(usage, service_tier)


def message(payload: dict[str, Any]) -> TokenUsage:
    return usage_of_message(msgspec.json.decode(msgspec.json.encode(payload), type=MessagesUsage))


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
        cache_write_5m=200,
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
    assert chat({"prompt_tokens": 8, "total_tokens": 8}) == TokenUsage(input_text=8, output_text=0)


def test_zero_is_not_unreported() -> None:
    usage = chat({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}})
    assert usage.cache_read == 0
    assert usage.cache_write_5m is None


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
        cache_write_5m=0,
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


def test_the_later_value_of_a_stream_wins_unless_it_is_null() -> None:
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
    merged = msgspec.convert(start, MessagesUsage)
    for delta in deltas:
        merged = merged.merged_with(msgspec.convert(delta, MessagesUsage))
    assert usage_of_message(merged) == TokenUsage(
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
    start = msgspec.convert(counts | {"speed": "fast", "inference_geo": "us"}, MessagesUsage)
    delta = msgspec.convert({"output_tokens": 9, "inference_geo": None}, MessagesUsage)
    assert usage_of_message(start.merged_with(delta)) == TokenUsage(
        input_text=5, output_text=9, speed="fast", inference_geo="us"
    )


@pytest.mark.parametrize("odd", [12.5, {"tokens_per_second": 80}, ["fast"], True])
def test_an_unexpected_speed_does_not_affect_the_counts(odd: Any) -> None:
    served = {"speed": odd, "inference_geo": odd}
    counts = TokenUsage(input_text=5, output_text=2)
    assert message({"input_tokens": 5, "output_tokens": 2, **served}) == counts
    assert chat({"prompt_tokens": 5, "completion_tokens": 2, **served}) == counts
    assert response({"input_tokens": 5, "output_tokens": 2, **served}) == counts


def test_how_a_translated_message_was_served_is_kept() -> None:
    served = {"speed": "fast", "inference_geo": "us"}
    for usage in (
        chat({"prompt_tokens": 5, "completion_tokens": 2, **served}),
        response({"input_tokens": 5, "output_tokens": 2, **served}),
    ):
        assert usage == TokenUsage(input_text=5, output_text=2, speed="fast", inference_geo="us")


def test_a_stream_that_ended_before_its_totals_has_no_usage() -> None:
    with pytest.raises(ValueError, match="totals are missing"):
        usage_of_message(MessagesUsage(input_tokens=3))
    with pytest.raises(ValueError, match="totals are missing"):
        usage_of_message(MessagesUsage(output_tokens=3))


@pytest.mark.parametrize(
    "payload",
    [
        {"prompt_tokens": -1},
        {"prompt_tokens": 1, "completion_tokens": -1},
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 6, "audio_tokens": 6}},
        {
            "prompt_tokens": 9,
            "prompt_tokens_details": {"cache_write_tokens": 1, "cache_write_1h_tokens": 2},
        },
        {
            "prompt_tokens": 1,
            "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 6},
        },
        # No call is so large, and MongoDB's integers end somewhere.
        {"prompt_tokens": 10**18},
        {"prompt_tokens": 1, "completion_tokens": 2**70},
    ],
)
def test_contradictory_openai_counts_are_rejected(payload: dict[str, Any]) -> None:
    renamed = {
        name.replace("prompt", "input").replace("completion", "output"): value
        for name, value in payload.items()
    }
    with pytest.raises(ValueError, match=r"is negative|is impossible"):
        chat(payload)
    with pytest.raises(ValueError, match=r"is negative|is impossible"):
        response(renamed)


@pytest.mark.parametrize(
    "payload",
    [
        {"input_tokens": -1},
        {"output_tokens": -1},
        {"cache_read_input_tokens": -1},
        {"cache_creation_input_tokens": -1},
        {"server_tool_use": {"web_search_requests": -1}},
        {"output_tokens_details": {"thinking_tokens": 6}},
        {"cache_creation": {"ephemeral_5m_input_tokens": -1}},
        {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 6}},
        {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_5m_input_tokens": 6}},
        {"input_tokens": 10**18},
    ],
)
def test_contradictory_anthropic_counts_are_rejected(payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is negative|is impossible|exceeds"):
        message({"input_tokens": 5, "output_tokens": 5} | payload)


def test_searches_of_a_translated_answer_are_counted() -> None:
    searches = {"server_tool_use": {"web_search_requests": 2}}
    chat = msgspec.convert({"prompt_tokens": 5, "completion_tokens": 1, **searches}, ChatUsage)
    response = msgspec.convert({"input_tokens": 5, "output_tokens": 1, **searches}, ResponsesUsage)

    assert usage_of_chat(chat).web_searches == 2
    assert usage_of_response(response).web_searches == 2


def test_a_message_without_any_tokens_reports_nothing() -> None:
    with pytest.raises(ValueError, match="nothing is reported"):
        usage_of_message(MessagesUsage(input_tokens=0, output_tokens=0))
    # All of the input may come from the cache.
    cached = MessagesUsage(input_tokens=0, output_tokens=0, cache_read_input_tokens=9)
    assert usage_of_message(cached).cache_read == 9
