"""Usages as providers report them, in the three conventions, and as litellm and we read them."""

from collections.abc import Iterator
from functools import cache, partial
from typing import Any, Literal

import msgspec

from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.usage import usage_of_openai
from libs.common.schemas.usage import TokenUsage

Convention = Literal["chat", "responses", "messages"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What was used. `written_1h` is a part of `written`, the rest are parts of the totals."""

    convention: Convention
    input_tokens: int = 10_000
    cached: int = 0
    written: int = 0
    written_1h: int = 0
    audio: int = 0
    image: int = 0
    output_tokens: int = 500
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


def payload_of(case: Case) -> dict[str, Any]:
    """The `usage` object of the provider's answer."""
    labels = {"speed": case.speed, "inference_geo": case.inference_geo}
    reported = {name: value for name, value in labels.items() if value is not None}
    match case.convention:
        case "chat":
            return _chat(case) | reported
        case "responses":
            return _responses(case) | reported
        case "messages":
            return _messages(case) | reported


def _chat(case: Case) -> dict[str, Any]:
    return {
        "prompt_tokens": case.input_tokens,
        "completion_tokens": case.output_tokens,
        "total_tokens": case.input_tokens + case.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": case.cached,
            "cache_write_tokens": case.written,
            "audio_tokens": case.audio,
            "image_tokens": case.image,
        },
        "completion_tokens_details": {
            "reasoning_tokens": case.reasoning,
            "audio_tokens": case.output_audio,
            "image_tokens": case.output_image,
        },
    }


def _responses(case: Case) -> dict[str, Any]:
    return {
        "input_tokens": case.input_tokens,
        "input_tokens_details": {"cached_tokens": case.cached, "cache_write_tokens": case.written},
        "output_tokens": case.output_tokens,
        "output_tokens_details": {"reasoning_tokens": case.reasoning},
        "total_tokens": case.input_tokens + case.output_tokens,
    }


def _messages(case: Case) -> dict[str, Any]:
    return {
        "input_tokens": case.input_tokens - case.cached - case.written,
        "cache_read_input_tokens": case.cached,
        "cache_creation_input_tokens": case.written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": case.written - case.written_1h,
            "ephemeral_1h_input_tokens": case.written_1h,
        },
        "output_tokens": case.output_tokens,
        "output_tokens_details": {"thinking_tokens": case.reasoning},
    }


@cache
def our_usage(case: Case) -> TokenUsage:
    payload = payload_of(case)
    match case.convention:
        case "chat" | "responses":
            return usage_of_openai(payload, case.service_tier)
        case "messages":
            return usage_of_message(payload | {"service_tier": case.service_tier})


def cases_of(
    convention: Convention, thresholds: list[int], service_tiers: list[str | None]
) -> Iterator[Case]:
    """A grid for one model: every class of tokens, and either side of each threshold."""

    def each_class(tier: str | None) -> Iterator[Case]:
        make = partial(Case, convention=convention, service_tier=tier)
        yield make()
        yield make(cached=4_000)
        yield make(cached=2_000, written=3_000)
        yield make(reasoning=300)
        if convention == "messages":
            yield make(cached=2_000, written=3_000, written_1h=1_000)
        if convention == "chat":
            yield make(audio=1_500, output_audio=120, image=2_500, output_image=80, cached=500)

    for tier in service_tiers:
        yield from each_class(tier)
        for threshold in thresholds:
            for more in (-1, 0, 1):
                # Most of it from the cache: cached tokens count.
                tokens = threshold + more
                yield Case(
                    convention=convention,
                    input_tokens=tokens,
                    cached=tokens - 700,
                    written=500,
                    written_1h=200 if convention == "messages" else 0,
                    reasoning=100,
                    service_tier=tier,
                )
