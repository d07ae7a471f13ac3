"""What holds for everything that a provider may report."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.usage import (
    ChatUsage,
    MessagesUsage,
    ResponsesUsage,
    usage_of_chat,
    usage_of_message,
    usage_of_response,
)
from libs.common.schemas.usage import TokenUsage

_INPUT = (
    "input_text",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
)
_OUTPUT = ("output_text", "reasoning", "output_audio", "output_image")


def chat(payload: dict[str, Any]) -> TokenUsage:
    return usage_of_chat(msgspec.convert(payload, ChatUsage))


def response(payload: dict[str, Any]) -> TokenUsage:
    return usage_of_response(msgspec.convert(payload, ResponsesUsage))


def message(payload: dict[str, Any]) -> TokenUsage:
    return usage_of_message(msgspec.convert(payload, MessagesUsage))


def totals(usage: TokenUsage) -> tuple[int, int]:
    def total(names: tuple[str, ...]) -> int:
        return sum(getattr(usage, name) or 0 for name in names)

    return total(_INPUT), total(_OUTPUT)


_counts = st.none() | st.integers(0, 500)
_input_details = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_tokens"), _counts
    )
    | {"image_tokens": _counts, "text_tokens": _counts},
)
_output_details = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("reasoning_tokens", "audio_tokens", "image_tokens"), _counts)
)


@given(st.integers(0, 2_500), _input_details, st.integers(0, 1_500), _output_details)
def test_the_classes_of_openai_sum_to_the_totals(
    input_total: int,
    input_details: dict[str, int | None],
    output_total: int,
    output_details: dict[str, int | None],
) -> None:
    as_chat = {
        "prompt_tokens": input_total,
        "prompt_tokens_details": input_details,
        "completion_tokens": output_total,
        "completion_tokens_details": output_details,
    }
    as_response = {
        "input_tokens": input_total,
        "input_tokens_details": input_details,
        "output_tokens": output_total,
        "output_tokens_details": output_details,
    }
    try:
        usage = chat(as_chat)
    except ValueError:
        with pytest.raises(ValueError, match="is negative"):
            response(as_response)
        return
    assert totals(usage) == (input_total, output_total)
    assert response(as_response) == usage


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    _counts,
    _counts,
    st.none() | st.tuples(_counts, _counts),
    _counts,
)
def test_the_classes_of_anthropic_sum_to_the_totals(
    input_tokens: int,
    output_tokens: int,
    read: int | None,
    written: int | None,
    split: tuple[int | None, int | None] | None,
    thinking: int | None,
) -> None:
    creation = None if split is None else dict(zip(("5m", "1h"), split, strict=True))
    payload = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": creation
        and {f"ephemeral_{life}_input_tokens": n for life, n in creation.items()},
        "output_tokens_details": {"thinking_tokens": thinking},
    }
    in_split = sum(n or 0 for n in split) if split is not None else 0
    try:
        usage = message(payload)
    except ValueError:
        nothing = not any((input_tokens, output_tokens, read, written, in_split))
        assert nothing or (thinking or 0) > output_tokens or in_split > (written or 0)
        return
    all_written = in_split if written is None else written
    assert totals(usage) == (input_tokens + (read or 0) + all_written, output_tokens)


_some = st.builds(
    MessagesUsage,
    input_tokens=_counts,
    output_tokens=_counts,
    cache_read_input_tokens=_counts,
    service_tier=st.sampled_from([None, "standard", "batch"]),
    speed=st.sampled_from([None, "standard", "fast"]),
)


@given(_some, _some, _some)
def test_merging_is_associative_and_an_empty_event_changes_nothing(
    first: MessagesUsage, second: MessagesUsage, third: MessagesUsage
) -> None:
    assert first.merged_with(second).merged_with(third) == first.merged_with(
        second.merged_with(third)
    )
    assert first.merged_with(MessagesUsage()) == first == MessagesUsage().merged_with(first)
