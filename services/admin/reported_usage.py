"""The usage that a quote is for: a provider's own object, or the classes that entries show."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from libs.common.domain.entries import MAX_COUNT
from libs.common.domain.message_usage import usage_of_message
from libs.common.domain.reported_counts import UsageReport, decode_report
from libs.common.domain.token_classes import total_input, total_output
from libs.common.domain.usage import usage_of_embedding, usage_of_openai
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.usage import (
    MAX_RUNS,
    ClientFormat,
    ModelRun,
    RunRole,
    TokenUsage,
    UsageNote,
)
from services.admin.fields import Model, model_problem
from services.admin.price_fields import Rate
from services.admin.validation import FieldRule, read_fields

_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
_FIELD = "usage"
# What no other convention has. Counts alone read the same in the last two.
_CHAT = frozenset({"prompt_tokens", "completion_tokens"})
_RESPONSES = frozenset({"input_tokens_details", "total_tokens"})
_MESSAGES = frozenset(
    {"cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "iterations"}
)
_TOTALS = frozenset({"input_tokens", "output_tokens"})


def _tool_uses(uses: dict[str, int], _: datetime) -> str | None:
    if len(uses) > MAX_RUNS:
        return f"has more than {MAX_RUNS} of them"
    problems = ((name, model_problem(name)) for name in uses)
    return next((f"name {name[:64]!r} {problem}" for name, problem in problems if problem), None)


class _CountsBody(msgspec.Struct, frozen=True, kw_only=True):
    """Classes of tokens that do not overlap."""

    input_text: _Count | None = None
    cache_read: _Count | None = None
    cache_write_5m: _Count | None = None
    cache_write_1h: _Count | None = None
    cache_write_30m: _Count | None = None
    cache_write_12h: _Count | None = None
    input_audio: _Count | None = None
    input_image: _Count | None = None
    citation: _Count | None = None
    output_text: _Count | None = None
    reasoning: _Count | None = None
    output_audio: _Count | None = None
    output_image: _Count | None = None


class RunBody(_CountsBody, frozen=True, kw_only=True):
    role: RunRole
    model: Model | None = None


class UsageBody(_CountsBody, frozen=True, kw_only=True):
    """As an entry shows it: what ran, what was used, and how the call was served."""

    model: Model | None = None
    runs: tuple[RunBody, ...] = ()
    unbilled: bool = False
    notes: Annotated[tuple[UsageNote, ...], Meta(max_length=16)] = ()
    web_searches: _Count | None = None
    tool_uses: Annotated[dict[str, _Count], FieldRule(_tool_uses)] = {}
    service_tier: Model | None = None
    speed: Model | None = None
    inference_geo: Model | None = None
    provider_cost_usd: Rate | None = None


def read_reported_usage(
    members: Mapping[str, msgspec.Raw],
    usage_format: ClientFormat | None,
    service_tier: str | None,
    now: datetime,
) -> TokenUsage:
    """By the convention of `usage_format`, or else by the names of its members.

    `service_tier` is what an answer of OpenAI's says beside its usage. Raises ValidationFailed.
    """
    convention = _format_of(members.keys()) if usage_format is None else usage_format
    if convention is None:
        body = msgspec.structs.asdict(read_fields(members, UsageBody, now, f"{_FIELD}."))
        runs = tuple(ModelRun(**msgspec.structs.asdict(run)) for run in body["runs"])
        usage = TokenUsage(**body | {"runs": runs})
    else:
        report = decode_report(msgspec.json.encode(members))
        usage = _READERS[convention](report or {})
        if not (total_input(usage) or total_output(usage) or usage.runs):
            message = f"has no count of the format {convention} that can be read, or none above 0"
            raise ValidationFailed([FieldError(_FIELD, message)])
    if service_tier is None:
        return usage
    return msgspec.structs.replace(usage, service_tier=service_tier)


def usage_view(usage: TokenUsage) -> dict[str, Any]:
    """What was reported of it."""
    view: dict[str, Any] = msgspec.to_builtins(usage, builtin_types=(datetime,))
    if usage.provider_cost_usd is not None:
        view["provider_cost_usd"] = usage.provider_cost_usd
    return view


def _format_of(names: Any) -> ClientFormat | None:
    """None for entries' own classes."""
    if names & _CHAT:
        return "chat"
    if names & _RESPONSES and names & _MESSAGES:
        message = "is needed: the usage has members of both responses and messages"
        raise ValidationFailed([FieldError("format", message)])
    if names & _MESSAGES:
        return "messages"
    return "responses" if names & (_TOTALS | _RESPONSES) else None


def _openai(report: UsageReport) -> TokenUsage:
    return usage_of_openai(report, _tier_of(report))


def _tier_of(report: UsageReport) -> str | None:
    tier = report.get("service_tier")
    return tier if isinstance(tier, str) else None


_READERS: dict[ClientFormat, Callable[[UsageReport], TokenUsage]] = {
    "chat": _openai,
    "responses": _openai,
    "messages": usage_of_message,
    "embeddings": usage_of_embedding,
}
