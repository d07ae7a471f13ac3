"""Reads the `usage` that nearly all answers have, in one step: OpenAI's, and Anthropic's.

Invariant: where it answers, `domain.usage` and `domain.message_usage` would read the same; where a
member is new or odd, or a sum does not fit, it leaves the report to them.
"""

from typing import Annotated

import msgspec

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.reported_counts import MAX_TOKENS, UsageReport
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


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    ephemeral_5m_input_tokens: _Count | None = None
    ephemeral_1h_input_tokens: _Count | None = None


class _Thought(msgspec.Struct, forbid_unknown_fields=True):
    thinking_tokens: _Count | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """The last two are null but where a tool was used, or another model ran."""

    input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _Written | None = None
    output_tokens: _Count | None = None
    output_tokens_details: _Thought | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    server_tool_use: None = None
    iterations: None = None


_message = msgspec.json.Decoder(_Message)


def plain_usage(report: UsageReport, service_tier: str | None) -> TokenUsage | None:
    """None where the report is not plain."""
    shape: type[_Chat | _Responses] = _Chat if "prompt_tokens" in report else _Responses
    try:
        usage = msgspec.convert(report, shape)
    except msgspec.ValidationError:
        return None
    inputs = usage.prompt_tokens_details or _NO_INPUT
    outputs = usage.completion_tokens_details or _NO_OUTPUT
    input_text = usage.prompt_tokens - (inputs.cached_tokens or 0) - (inputs.audio_tokens or 0)
    output_text = (
        usage.completion_tokens - (outputs.reasoning_tokens or 0) - (outputs.audio_tokens or 0)
    )
    is_sum = usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    if not is_sum or input_text < 0 or output_text < 0:
        return None
    return TokenUsage(
        input_text=input_text,
        cache_read=inputs.cached_tokens,
        input_audio=inputs.audio_tokens,
        output_text=output_text,
        reasoning=outputs.reasoning_tokens,
        output_audio=outputs.audio_tokens,
        service_tier=service_tier,
    )


def plain_message_usage(report: UsageReport) -> TokenUsage | None:
    """Anthropic's; None where the report is not plain."""
    try:
        return _usage_of(msgspec.convert(report, _Message))
    except msgspec.ValidationError:
        return None


def plain_message_usage_in(raw: bytes) -> TokenUsage | None:
    """As `plain_message_usage`, of a report as JSON."""
    try:
        return _usage_of(_message.decode(raw))
    except UNREADABLE:
        return None


def _usage_of(usage: _Message) -> TokenUsage | None:
    written_5m = written_1h = reasoning = None
    if usage.cache_creation is not None:
        written_5m = usage.cache_creation.ephemeral_5m_input_tokens
        written_1h = usage.cache_creation.ephemeral_1h_input_tokens
    written = usage.cache_creation_input_tokens
    if written is not None:
        # What the split by time leaves over.
        written_5m = (written_5m or 0) + max(written - (written_5m or 0) - (written_1h or 0), 0)
    output = usage.output_tokens
    if usage.output_tokens_details is not None:
        reasoning = usage.output_tokens_details.thinking_tokens
        if output is None or (reasoning or 0) > output:
            return None
        output -= reasoning or 0
    return TokenUsage(
        input_text=usage.input_tokens,
        cache_read=usage.cache_read_input_tokens,
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output_text=output,
        reasoning=reasoning,
        service_tier=usage.service_tier,
        speed=usage.speed,
        inference_geo=usage.inference_geo,
    )
