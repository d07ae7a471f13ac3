"""The paths by which a Responses client's request names its parts."""

from services.gateway.upstream.translation.parts import At
from services.gateway.upstream.translation.refusals import Paths


class ResponsesPaths(Paths, frozen=True):
    """A second index that is negative is of a tool's output: -1 - n."""

    def of(self, at: At, member: str | None = None) -> str:
        if at and at[0] < 0:
            return self._with("instructions", member)
        path = self.turns + (f"[{at[0]}]" if at else "")
        for index in at[1:]:
            path += f".content[{index}]" if index >= 0 else f".output[{-1 - index}]"
        return self._with(path, member)

    def tool(self, at: At, member: str | None = None) -> str:
        """A negative first index is of an item that brings tools: -1 - n."""
        path = "tools" if at[0] >= 0 else f"input[{-1 - at[0]}].tools"
        inside = at if at[0] >= 0 else at[1:]
        return self._with(path + ".tools".join(f"[{index}]" for index in inside), member)


PATHS = ResponsesPaths(
    format="responses",
    turns="input",
    parts=("content",),
    fields={
        "turns": "input",
        "choice": "tool_choice",
        "parallel": "parallel_tool_calls",
        "limits.output_tokens": "max_output_tokens",
        "limits.prewarm": "prompt_cache_options.prewarm",
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
        "sampling.wants_logprobs": "include",
        "sampling.top_logprobs": "top_logprobs",
        "thinking": "reasoning",
        "thinking.mode": "reasoning",
        "thinking.effort": "reasoning.effort",
        "thinking.budget_tokens": "reasoning.effort",
        "thinking.summary": "reasoning.summary",
        "thinking.is_shown": "reasoning.summary",
        "shape": "text.format",
        "shape.kind": "text.format",
        "shape.name": "text.format.name",
        "shape.description": "text.format.description",
        "shape.schema": "text.format.schema",
        "shape.strict": "text.format.strict",
        "verbosity": "text.verbosity",
        "labels.user": "user",
        "labels.safety_id": "safety_identifier",
        "labels.metadata": "metadata",
        "labels.cache_key": "prompt_cache_key",
        "labels.cache_retention": "prompt_cache_retention",
        "labels.keeps": "store",
        "labels.tier": "service_tier",
        "auto_cache": "prompt_cache_options",
    },
)
