"""Which fields go from the engine's chat bodies to LiteLLM's chat call, and which answers to trust.

Invariant: a field goes by its name, and no field is one of LiteLLM's own parameters.
"""

from collections.abc import Mapping
from typing import Any

from services.gateway.upstream.adapters.format_fields import FIELDS
from services.gateway.upstream.adapters.target import TranslationTarget

# Labels of OpenAI's are left out: LiteLLM writes keys of its own into `metadata`, and nobody else
# keeps answers. Claude's thinking and `top_k` are not fields of OpenAI's.
_ASKED = FIELDS["chat"].carried | {"thinking", "top_k"}
_CLAUDE = "claude"
_GOOGLES = frozenset({"gemini", "vertex_ai"})
# LiteLLM reports these of Google's finish reasons as `stop`.
_MALFORMED = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
_STOP = "stop"
_BROKEN_CALL = "malformed_function_call"


def library_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in _ASKED and value is not None}


class AnswerTerms:
    """How to read one provider's answers.

    `thinks_uncounted`: LiteLLM estimates what the model thought. `caches_as_claude`: caches are
    kept for five minutes where no time is told, which LiteLLM does not say.
    """

    def __init__(self, target: TranslationTarget | None = None) -> None:
        provider = "" if target is None else target.provider
        is_claude = target is not None and _CLAUDE in target.model
        self.thinks_uncounted = provider in ("bedrock", "databricks") or (
            provider == "vertex_ai" and is_claude
        )
        self.caches_as_claude = is_claude or provider == "bedrock"
        # An empty answer means that the call broke.
        self._breaks_silently = not is_claude and provider in _GOOGLES | {"bedrock"}
        self._is_googles = not is_claude and provider in _GOOGLES

    def end_of(self, choice: Any) -> str | None:
        """The finish reason of a whole answer's choice."""
        finish_reason: str | None = choice.finish_reason
        fields = getattr(choice, "provider_specific_fields", None)
        native = fields.get("native_finish_reason") if isinstance(fields, dict) else None
        native = native if isinstance(native, str) else None
        return self.end(finish_reason, native, has_said=_says_something(choice.message))

    def end(self, finish_reason: str | None, native: str | None, *, has_said: bool) -> str | None:
        """A choice's, after all else of it. `native` is Google's own word."""
        if finish_reason is not None and self._is_googles and native is not None:
            return _BROKEN_CALL if native in _MALFORMED else finish_reason
        if finish_reason == _STOP and self._breaks_silently and not has_said:
            return _BROKEN_CALL
        return finish_reason


def _says_something(message: Any) -> bool:
    names = ("content", "tool_calls", "reasoning_content", "images", "audio", "function_call")
    return any(getattr(message, name, None) for name in names)
