"""Whose format this is, and how it names what a client sent."""

from collections.abc import Container

from services.gateway.upstream.translation.refusals import Paths

FAMILY = "anthropic"


class MessagesPaths(Paths, frozen=True, kw_only=True):
    def of_body(self, names: Container[str]) -> Paths:
        is_older = "output_format" in names and "output_config" not in names
        return _OLDER_PATHS if is_older else self


_FIELDS = {
    "turns": "messages",
    "tools": "tools",
    "choice": "tool_choice",
    "choice.mode": "tool_choice",
    "choice.names": "tool_choice.name",
    "choice.kind": "tool_choice.type",
    "parallel": "tool_choice.disable_parallel_tool_use",
    "limits.output_tokens": "max_tokens",
    "limits.prewarm": "max_tokens",
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
}
_OLDER = {"shape": "output_format", "shape.schema": "output_format.schema"}

PATHS = MessagesPaths(format="messages", turns="messages", parts=("content",), fields=_FIELDS)
# Structured answers as their first clients ask for them.
_OLDER_PATHS = MessagesPaths(
    format="messages", turns="messages", parts=("content",), fields=_FIELDS | _OLDER
)


def is_own(paths: Paths) -> bool:
    """Whether the client speaks Messages, too."""
    return type(paths) is MessagesPaths
