"""The paths by which a chat client's request names its parts."""

from collections.abc import Container

from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.refusals import Paths

# Of tools that stand outside the list: the search's options, and before it the legacy functions.
SEARCH_AT: At = (-1,)
_FIRST_LEGACY_AT = -2
# Where members stand that have a place in every format.
_INSIDE = {
    "name": "function.name",
    "parameters": "function.parameters",
    "strict": "function.strict",
    "format": "custom.format",
}


def legacy_at(index: int) -> At:
    return (_FIRST_LEGACY_AT - index,)


class ChatPaths(Paths, frozen=True):
    """A second index that is negative is of a call: -1 - n."""

    def of(self, at: At, member: str | None = None) -> str:
        if len(at) > 1 and at[1] < 0:
            return self._with(f"messages[{at[0]}].tool_calls[{-1 - at[1]}]", member)
        return super().of(at, member)

    def of_body(self, names: Container[str]) -> Paths:
        is_older = "max_tokens" in names and "max_completion_tokens" not in names
        return _OLDER_PATHS if is_older else self

    def tool(self, at: At, member: str | None = None) -> str:
        if at == SEARCH_AT:
            return self._with("web_search_options", member)
        if at[0] < 0:
            return self._with(f"functions[{_FIRST_LEGACY_AT - at[0]}]", member)
        return super().tool(at, None if member is None else _INSIDE.get(member, member))


_FIELDS = {
    "turns": "messages",
    "choice": "tool_choice",
    "parallel": "parallel_tool_calls",
    "limits.output_tokens": "max_completion_tokens",
    "limits.prewarm": "max_completion_tokens",
    "limits.stop": "stop",
    "limits.answers": "n",
    "limits.hosted_calls": "max_tool_calls",
    "sampling.temperature": "temperature",
    "sampling.top_p": "top_p",
    "sampling.top_k": "top_k",
    "sampling.seed": "seed",
    "sampling.presence": "presence_penalty",
    "sampling.frequency": "frequency_penalty",
    "sampling.logit_bias": "logit_bias",
    "sampling.wants_logprobs": "logprobs",
    "sampling.top_logprobs": "top_logprobs",
    "thinking.effort": "reasoning_effort",
    "thinking": "reasoning_effort",
    "thinking.mode": "reasoning_effort",
    "thinking.budget_tokens": "reasoning_effort",
    "thinking.summary": "reasoning_effort",
    "thinking.is_shown": "reasoning_effort",
    "shape": "response_format",
    "shape.kind": "response_format",
    "shape.name": "response_format.json_schema.name",
    "shape.description": "response_format.json_schema.description",
    "shape.schema": "response_format.json_schema.schema",
    "shape.strict": "response_format.json_schema.strict",
    "labels.user": "user",
    "labels.safety_id": "safety_identifier",
    "labels.metadata": "metadata",
    "labels.cache_key": "prompt_cache_key",
    "labels.cache_retention": "prompt_cache_retention",
    "labels.keeps": "store",
    "labels.tier": "service_tier",
    "auto_cache": "prompt_cache_options",
}
_OLDER_LIMIT = {
    **_FIELDS,
    "limits.output_tokens": "max_tokens",
    "limits.prewarm": "max_tokens",
}
_PARTS = ("content",)
PATHS = ChatPaths(format="chat", turns="messages", parts=_PARTS, fields=_FIELDS)
# For those whose body has the older word for its limit.
_OLDER_PATHS = ChatPaths(format="chat", turns="messages", parts=_PARTS, fields=_OLDER_LIMIT)
