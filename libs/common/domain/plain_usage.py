"""Reads the `usage` that nearly all answers of OpenAI's formats have, in one step.

Invariant: where it answers, `domain.usage` would read the same; where a member is new or odd, or
a sum does not fit, it leaves the report to that.
"""

from typing import Annotated

import msgspec

from libs.common.domain.reported_counts import MAX_TOKENS, Report
from libs.common.schemas.usage import TokenUsage

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    """The last two are part of the others."""

    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


_NO_INPUT, _NO_OUTPUT = _Input(), _Output()


class _Chat(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


class _Responses(
    msgspec.Struct,
    forbid_unknown_fields=True,
    rename={
        "prompt_tokens": "input_tokens",
        "completion_tokens": "output_tokens",
        "prompt_tokens_details": "input_tokens_details",
        "completion_tokens_details": "output_tokens_details",
    },
):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Input | None = None
    completion_tokens_details: _Output | None = None


def plain_usage(report: Report, service_tier: str | None) -> TokenUsage | None:
    """None where the report is not plain."""
    shape: type[_Chat | _Responses] = _Chat if "prompt_tokens" in report else _Responses
    try:
        told = msgspec.convert(report, shape)
    except msgspec.ValidationError:
        return None
    read = told.prompt_tokens_details or _NO_INPUT
    made = told.completion_tokens_details or _NO_OUTPUT
    input_text = told.prompt_tokens - (read.cached_tokens or 0) - (read.audio_tokens or 0)
    output_text = told.completion_tokens - (made.reasoning_tokens or 0) - (made.audio_tokens or 0)
    is_sum = told.total_tokens == told.prompt_tokens + told.completion_tokens
    if not is_sum or input_text < 0 or output_text < 0:
        return None
    return TokenUsage(
        input_text=input_text,
        cache_read=read.cached_tokens,
        input_audio=read.audio_tokens,
        output_text=output_text,
        reasoning=made.reasoning_tokens,
        output_audio=made.audio_tokens,
        service_tier=service_tier,
    )
