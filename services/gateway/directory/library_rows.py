"""What is known of the providers that are reached through LiteLLM's chat call.

Some of it is what LiteLLM leaves out on the way, without a word, so that nothing can be asked by
it. `tests/service/gateway/test_library_*` hold it to what goes over the wire.
"""

import re
from typing import Any

import msgspec

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.target import Target
from services.gateway.directory.provider_rows import OPENAI

_CLAUDE = "claude"
# Theirs goes from LiteLLM to `metadata.user_id`.
_CLAUDES_USER_CHARS = 256
# On the way to these `strict` of tools is lost, and cache marks.
_LOSSY = frozenset(
    {"bedrock", "cohere", "cohere_chat", "databricks", "gemini", "vertex_ai", "watsonx"}
)
# They take system messages at the start alone.
_ONE_SYSTEM = frozenset({"bedrock", "gemini", "vertex_ai"})
_GEMINI = re.compile(r"gemini-(\d+)")
_FIRST_IN_WORDS = 3


def library_target(
    provider: str,
    model: str,
    base_url: str | None = None,
    paths: dict[ClientFormat, str] | None = None,
) -> Target:
    return Target(
        deployment_id=f"{provider}/{model}",
        provider=provider,
        model=model,
        base_url=base_url,
        paths=paths or {},
        defaults=_defaults(provider, model),
    )


def _defaults(provider: str, model: str) -> ProfileFields:
    if provider == "azure":
        return msgspec.structs.replace(OPENAI, takes_system_inside=True)
    # LiteLLM's failures about results without a call come as if they were the provider's.
    fields: dict[str, Any] = {
        "family": provider,
        "checks_results": True,
        "takes_search": False,
        # Most lose the label of a user, or LiteLLM refuses it for them.
        "max_user_chars": 0,
    }
    if provider in _LOSSY:
        fields |= {"takes_strict": False, "takes_cache_marks": False}
    if _CLAUDE in model:
        fields |= _claude_fields(provider)
    elif "gemini" in model or provider == "gemini":
        fields |= _gemini_fields(model)
    fields["takes_system_inside"] = _CLAUDE not in model and provider not in _ONE_SYSTEM
    return ProfileFields(**fields)


def _claude_fields(provider: str) -> dict[str, Any]:
    """`is_adaptive` of models that are newer than the map, which says the rest."""
    return {
        "family": "anthropic",
        "is_adaptive": True,
        "takes_top_k": provider in ("bedrock", "vertex_ai"),
        "takes_strict": None,
        "takes_cache_marks": None,
        "max_user_chars": _CLAUDES_USER_CHARS if provider == "vertex_ai" else 0,
    }


def _gemini_fields(model: str) -> dict[str, Any]:
    """Gemini 2.5 is told in tokens how much to think, later ones in words.

    None can be told not to, but for Gemini 2.5 Flash.
    """
    version = _GEMINI.search(model)
    fields: dict[str, Any] = {"family": "google", "takes_top_k": True, "takes_search": None}
    if version is None or int(version[1]) >= _FIRST_IN_WORDS:
        least = () if "pro" in model else ("minimal",)
        return fields | {"efforts": (*least, "low", "medium", "high"), "always_thinks": True}
    return fields | {"efforts": (), "has_budgets": True, "always_thinks": "pro" in model}
