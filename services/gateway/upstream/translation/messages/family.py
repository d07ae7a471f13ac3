"""Whose format this is, and how it names what a client sent."""

from services.gateway.upstream.translation.refusals import Paths

FAMILY = "anthropic"

PATHS = Paths(
    turns="messages",
    parts=("content",),
    fields={
        "turns": "messages",
        "tools": "tools",
        "choice": "tool_choice",
        "choice.mode": "tool_choice",
        "choice.names": "tool_choice.name",
        "choice.kind": "tool_choice.type",
        "parallel": "tool_choice.disable_parallel_tool_use",
        "limits.output_tokens": "max_tokens",
        "limits.stop": "stop_sequences",
        "sampling.temperature": "temperature",
        "sampling.top_p": "top_p",
        "sampling.top_k": "top_k",
        "thinking": "thinking",
        "thinking.mode": "thinking",
        "thinking.effort": "output_config.effort",
        "thinking.budget_tokens": "thinking.budget_tokens",
        "thinking.summary": "thinking.display",
        "thinking.is_shown": "thinking.display",
        "shape": "output_config.format",
        "shape.schema": "output_config.format.schema",
        "labels": "metadata",
        "labels.user": "metadata.user_id",
        "labels.tier": "service_tier",
        "auto_cache": "cache_control",
        "stream": "stream",
    },
)
