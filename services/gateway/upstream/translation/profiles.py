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

_MAX_KEPT = 10_000
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
        self._kept: dict[str, tuple[Target, Profile]] = {}

    def of(self, target: Target) -> Profile:
        kept = self._kept.get(target.deployment_id)
        if kept is not None and kept[0] is target:
            return kept[1]
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
            library=None if _spoken(target) else target.provider,
        )
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[target.deployment_id] = (target, profile)
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
    said = _said(defaults)
    if row is not None:
        said |= _of_row(provider, model, str(said.get("family", "other")), row)
    if row is not None and library is not None:
        said |= _of_library_row(_said(defaults), row)
    if changes is not None:
        said |= _said(changes)
    if library is not None and said.get("family") != "anthropic":
        # For Gemini LiteLLM would make a cache at every mark, by calls of its own.
        said["takes_cache_marks"] = False
    if said.get("family") == "openai" and "takes_search" not in said:
        # In chat only models that do nothing else search.
        said["takes_search"] = "responses" in formats or "search" in model
    return Profile(formats=formats, library=library, **said)


def _base_model(model: str) -> str:
    """A fine-tuned model can do what its base can."""
    return model.split(":")[1] if model.startswith("ft:") else model


def _formats(target: Target, row: Mapping[str, Any] | None) -> tuple[ClientFormat, ...]:
    """Those that the target speaks and the map does not exclude; LiteLLM is asked in chat."""
    spoken = _spoken(target)
    endpoints = row and (row.get("supported_endpoints") or _by_mode(row))
    if isinstance(endpoints, list):
        served = tuple(name for name in spoken if FORMATS[name].path in endpoints)
        spoken = served or spoken
    return spoken or ("chat",)


def _spoken(target: Target) -> tuple[ClientFormat, ...]:
    return tuple(name for name in _PREFERRED if name in target.paths)


def _by_mode(row: Mapping[str, Any]) -> list[str] | None:
    return [RESPONSES.path] if row.get("mode") == "responses" else None


def _said(fields: ProfileFields) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(fields).items() if value is not None
    }


def _of_row(provider: str, model: str, family: str, row: Mapping[str, Any]) -> dict[str, Any]:
    def flag(name: str) -> bool | None:
        value = row.get(f"supports_{name}")
        return value if isinstance(value, bool) else None

    sees = flag("vision") is True
    said: dict[str, Any] = {
        "sees": sees,
        "hears": flag("audio_input") is True,
        "reads_pdf": flag("pdf_input") is True or (sees and family in ("anthropic", "openai")),
        "takes_sampling": flag("sampling_params") is not False,
        "takes_forced_tools": flag("forced_tool_use") is not False,
        "default_effort": _level(row.get("default_reasoning_effort")),
    }
    most = row.get("max_output_tokens")
    if isinstance(most, int) and most > 0:
        said["max_output"] = most
    prefill = flag("assistant_prefill")
    if prefill is not None:
        said["takes_prefill"] = prefill
    if family == "anthropic":
        return said | _of_claude(row, flag)
    said["efforts"] = _efforts(row, flag)
    said["takes_strict"] = flag("response_schema") is not False
    if family == "openai":
        thinks = bool(said["efforts"])
        said["always_thinks"] = thinks and "none" not in said["efforts"]
        said["thinks_beside_tools"] = not (thinks and _CHAT_OR_TOOLS.search(model))
        said["takes_cache_marks"] = flag("prompt_cache_breakpoint") is True
        said["system_word"] = "developer" if thinks and provider == "openai" else "system"
    return said


def _of_library_row(defaults: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What LiteLLM does not carry stays out, whatever the model can; Gemini's rows do not tell
    how it thinks, only whether.
    """
    said = {name: defaults[name] for name in _NOT_CARRIED if name in defaults}
    if row.get("supports_tool_choice") is False:
        said["takes_forced_tools"] = False
    if defaults.get("family") == _GOOGLE:
        said |= {"takes_search": row.get("supports_web_search") is True}
        thinks = row.get("supports_reasoning") is True
        said |= {name: defaults[name] for name in _THINKING if thinks and name in defaults}
        if not thinks:
            said |= {"efforts": (), "has_budgets": False, "always_thinks": False}
    return said


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
