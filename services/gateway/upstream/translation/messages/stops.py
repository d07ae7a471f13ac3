"""Maps Anthropic's stop reasons to the conversation's, and back."""

from typing import Any

from libs.common.errors import CallMalformed
from services.gateway.upstream.translation.messages.family import FAMILY
from services.gateway.upstream.translation.messages.wire import StopDetails
from services.gateway.upstream.translation.parts import Family
from services.gateway.upstream.translation.reply import Stop, StopKind

_KINDS: dict[str, StopKind] = {
    "end_turn": "end",
    "tool_use": "tool",
    "max_tokens": "limit",
    "model_context_window_exceeded": "window",
    "stop_sequence": "sequence",
    "refusal": "blocked",
    "pause_turn": "pause",
    "compaction": "pause",
}
_REASONS: dict[StopKind, str] = {
    "end": "end_turn",
    "tool": "tool_use",
    "limit": "max_tokens",
    "window": "model_context_window_exceeded",
    "sequence": "stop_sequence",
    "declined": "refusal",
    "blocked": "refusal",
    "pause": "pause_turn",
}
_COMPACTION = "compaction"
_CATEGORIES = ("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms")


def read_stop(
    reason: str | None,
    sequence: str | None,
    details: StopDetails | None,
    *,
    has_calls: bool,
    extra: dict[str, Any],
) -> Stop:
    """An unknown reason is a normal end; the calls show whether it is for tools."""
    kind = _KINDS.get(reason or "", "end")
    if kind in ("end", "tool"):
        kind = "tool" if has_calls else "end"
    return Stop(
        kind=kind,
        reason=reason,
        sequence=sequence,
        category=None if details is None else details.category,
        explanation=None if details is None else details.explanation,
        extra=extra,
    )


def written_stop(stop: Stop, family: Family) -> dict[str, Any]:
    """Members of the message. Raises CallMalformed where there is nothing to end with."""
    if stop.kind == "malformed":
        raise CallMalformed("The model tried to call a tool in a form that cannot be read.")
    is_compaction = stop.reason == _COMPACTION and family == FAMILY
    members: dict[str, Any] = {
        "stop_reason": _COMPACTION if is_compaction else _REASONS[stop.kind],
        "stop_sequence": stop.sequence,
    }
    if stop.kind == "blocked" and (stop.category or stop.explanation):
        is_known = family == FAMILY or stop.category in _CATEGORIES
        members["stop_details"] = {
            "type": "refusal",
            "category": stop.category if is_known else None,
            "explanation": stop.explanation,
        }
    return members | stop.extra if family == FAMILY else members
