"""Profiles of targets: what the provider's row says, then the model map, then the route."""

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from libs.common.schemas.profile import EffortLevel, ProfileFields
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.calls.target import Target
from services.gateway.formats import FORMATS, RESPONSES
from services.gateway.upstream.translation.profile import Profile

_MAX_CACHED = 10_000
_LEVELS: tuple[EffortLevel, ...] = get_args(EffortLevel)
# The one that carries most comes first; no client is translated to its own.
_PREFERRED: tuple[ClientFormat, ...] = ("responses", "chat", "messages")
# OpenAI's chat refuses functions of models from 5.4 on while they think.
_CHAT_OR_TOOLS = re.compile(r"gpt-(5\.([4-9]|\d\d)|[6-9]|\d\d)(?![\d])")
_GOOGLE = "google"
_NOT_CARRIED = ("takes_strict", "takes_cache_marks")
_THINKING = ("efforts", "has_budgets", "always_thinks")
Flag = Callable[[str], bool | None]


class Profiles:
    """Made once for each target, and kept until the target is another one."""

    def __init__(self, price_map: PriceMap) -> None:
        self._price_map = price_map
        self._cache: dict[str, tuple[Target, Profile]] = {}

    def of(self, target: Target) -> Profile:
        cached = self._cache.get(target.deployment_id)
        if cached is not None and cached[0] is target:
            return cached[1]
        row = self._price_map.abilities(target.provider, _base_model(target.model))
        defaults = target.defaults
        if row is None and target.defaults_elsewhere is not None:
            defaults = target.defaults_elsewhere
        is_own_base = target.defaults_elsewhere is None
        profile = profile_of(
            target.provider,
            target.model,
            _formats(target, row if is_own_base else None),
            row,
            defaults,
            target.profile,
            library=None if _spoken_formats(target) else target.provider,
        )
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[target.deployment_id] = (target, profile)
        return profile

    def searches(self, target: Target) -> bool:
        """Whether a translated call's web search can reach the target, as far as is known."""
        if target.translation == "library":
            return True
        profile = self.of(target)
        return profile.family == "anthropic" or profile.takes_search


def profile_of(
    provider: str,
    model: str,
    formats: tuple[ClientFormat, ...],
    row: Mapping[str, Any] | None,
    defaults: ProfileFields,
    changes: ProfileFields | None = None,
    *,
    library: str | None = None,
) -> Profile:
    """`row` is the model's in the map; `changes` are the route's, and have the last word."""
    fields = _set_fields(defaults)
    if row is not None:
        fields |= _of_row(provider, model, str(fields.get("family", "other")), row)
    if row is not None and library is not None:
        fields |= _of_library_row(_set_fields(defaults), row)
    if changes is not None:
        fields |= _set_fields(changes)
    if library is not None and fields.get("family") != "anthropic":
        # For Gemini LiteLLM would make a cache at every mark, by calls of its own.
        fields["takes_cache_marks"] = False
    if fields.get("family") == "openai" and "takes_search" not in fields:
        # In chat only models that do nothing else search.
        fields["takes_search"] = "responses" in formats or "search" in model
    return Profile(formats=formats, library=library, **fields)


def _base_model(model: str) -> str:
    """A fine-tuned model can do what its base can."""
    return model.split(":")[1] if model.startswith("ft:") else model


def _formats(target: Target, row: Mapping[str, Any] | None) -> tuple[ClientFormat, ...]:
    """Those that the target speaks and the map does not exclude; LiteLLM is asked in chat."""
    formats = _spoken_formats(target)
    endpoints = row and (row.get("supported_endpoints") or _by_mode(row))
    if isinstance(endpoints, list):
        listed = tuple(name for name in formats if FORMATS[name].path in endpoints)
        formats = listed or formats
    return formats or ("chat",)


def _spoken_formats(target: Target) -> tuple[ClientFormat, ...]:
    return tuple(name for name in _PREFERRED if name in target.paths)


def _by_mode(row: Mapping[str, Any]) -> list[str] | None:
    return [RESPONSES.path] if row.get("mode") == "responses" else None


def _set_fields(fields: ProfileFields) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(fields).items() if value is not None
    }


def _of_row(provider: str, model: str, family: str, row: Mapping[str, Any]) -> dict[str, Any]:
    def flag(name: str) -> bool | None:
        value = row.get(f"supports_{name}")
        return value if isinstance(value, bool) else None

    sees = flag("vision") is True
    fields: dict[str, Any] = {
        "sees": sees,
        "hears": flag("audio_input") is True,
        "reads_pdf": flag("pdf_input") is True or (sees and family in ("anthropic", "openai")),
        "takes_sampling": flag("sampling_params") is not False,
        "takes_forced_tools": flag("forced_tool_use") is not False,
        "default_effort": _level(row.get("default_reasoning_effort")),
    }
    max_output = row.get("max_output_tokens")
    if isinstance(max_output, int) and max_output > 0:
        fields["max_output"] = max_output
    prefill = flag("assistant_prefill")
    if prefill is not None:
        fields["takes_prefill"] = prefill
    if family == "anthropic":
        return fields | _of_claude(row, flag)
    fields["efforts"] = _efforts(row, flag)
    fields["takes_strict"] = flag("response_schema") is not False
    if family == "openai":
        thinks = bool(fields["efforts"])
        fields["always_thinks"] = thinks and "none" not in fields["efforts"]
        fields["thinks_beside_tools"] = not (thinks and _CHAT_OR_TOOLS.search(model))
        fields["takes_cache_marks"] = flag("prompt_cache_breakpoint") is True
        fields["system_word"] = "developer" if thinks and provider == "openai" else "system"
    return fields


def _of_library_row(defaults: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What LiteLLM does not carry stays out, whatever the model can; Gemini's rows do not tell
    how it thinks, only whether.
    """
    fields = {name: defaults[name] for name in _NOT_CARRIED if name in defaults}
    if row.get("supports_tool_choice") is False:
        fields["takes_forced_tools"] = False
    if defaults.get("family") == _GOOGLE:
        fields |= {"takes_search": row.get("supports_web_search") is True}
        thinks = row.get("supports_reasoning") is True
        fields |= {name: defaults[name] for name in _THINKING if thinks and name in defaults}
        if not thinks:
            fields |= {"efforts": (), "has_budgets": False, "always_thinks": False}
    return fields


def _of_claude(row: Mapping[str, Any], flag: Flag) -> dict[str, Any]:
    thinks = flag("reasoning") is True
    is_adaptive = flag("adaptive_thinking") is True
    has_word = is_adaptive or flag("output_config") is True
    rare = [level for level in ("xhigh", "max") if flag(f"{level}_reasoning_effort")]
    return {
        "efforts": ("low", "medium", "high", *rare) if has_word else (),
        "is_adaptive": is_adaptive,
        "has_budgets": thinks and (not is_adaptive or flag("legacy_thinking") is True),
        "always_thinks": row.get("thinking_always_on") is True,
        "takes_system_inside": flag("mid_conversation_system") is True,
        "takes_strict": flag("native_structured_output") is True,
        "takes_cache_marks": flag("prompt_caching") is True,
    }


def _efforts(row: Mapping[str, Any], flag: Flag) -> tuple[EffortLevel, ...]:
    if flag("reasoning") is not True:
        return ()
    levels = row.get("reasoning_effort_levels")
    if isinstance(levels, list):
        return tuple(level for level in _LEVELS if level in levels)
    always = {"medium", "high"} | ({"low"} if flag("low_reasoning_effort") is not False else set())
    return tuple(
        level for level in _LEVELS if level in always or flag(f"{level}_reasoning_effort") is True
    )


def _level(value: Any) -> EffortLevel | None:
    return value if value in _LEVELS else None
