"""What a target can do: by its provider's row, by the map and by its route."""

import json
from typing import Any

import msgspec
import pytest

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import Deployment
from libs.common.settings import Secret
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.calls.target import Target
from services.gateway.directory.provider_rows import ANTHROPIC, OPENAI
from services.gateway.directory.providers import ModelDirectory
from services.gateway.settings import Settings
from services.gateway.upstream.translation.profile import Profile
from services.gateway.upstream.translation.profiles import Profiles, profile_of

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def row(provider: str, **members: Any) -> dict[str, Any]:
    supported = {
        name if name in NOT_FLAGS else f"supports_{name}": value for name, value in members.items()
    }
    return {"litellm_provider": provider, "mode": "chat", **supported}


NOT_FLAGS = {
    "mode",
    "max_output_tokens",
    "default_reasoning_effort",
    "reasoning_effort_levels",
    "supported_endpoints",
    "thinking_always_on",
}
MAP = {
    "gpt-4": row("openai", vision=True, max_output_tokens=32_768),
    "gpt-5": row("openai", reasoning=True, minimal_reasoning_effort=True),
    "gpt-5.4": row(
        "openai",
        reasoning=True,
        none_reasoning_effort=True,
        xhigh_reasoning_effort=True,
        default_reasoning_effort="none",
        prompt_cache_breakpoint=True,
        supported_endpoints=[CHAT, RESPONSES],
    ),
    "gpt-pro": row("openai", mode="responses", reasoning=True),
    "claude-old": row("anthropic", reasoning=True, assistant_prefill=True, prompt_caching=True),
    "claude-both": row("anthropic", reasoning=True, adaptive_thinking=True, legacy_thinking=True),
    "claude-new": row(
        "anthropic",
        reasoning=True,
        adaptive_thinking=True,
        max_reasoning_effort=True,
        sampling_params=False,
        forced_tool_use=False,
        assistant_prefill=False,
        mid_conversation_system=True,
        native_structured_output=True,
        thinking_always_on=True,
    ),
    "groq/oss": row("groq", reasoning=True, low_reasoning_effort=False),
    "groq/levels": row("groq", reasoning=True, reasoning_effort_levels=["none", "high", "odd"]),
    "groq/odd": row("groq", reasoning="yes", vision=1, max_output_tokens="many"),
    "deepseek/sees": row("deepseek", vision=True),
}


def directory() -> ModelDirectory:
    settings = Settings(mongo_uri=Secret("mongodb://m"), redis_url=Secret("redis://r"))
    return ModelDirectory(settings, PriceMap(json.dumps(MAP).encode()), {})


def target(model: str, **fields: Any) -> Target:
    return directory().deployment_target(Deployment(deployment_id="d", model=model, **fields))


def profile(model: str, **fields: Any) -> Profile:
    model_target = target(model, **fields)
    model_target = msgspec.structs.replace(model_target, profile=fields.get("profile"))
    return Profiles(PriceMap(json.dumps(MAP).encode())).of(model_target)


def test_a_route_can_say_each_field_of_a_profile() -> None:
    route_fields = {field.name for field in msgspec.structs.fields(ProfileFields)}
    target_fields = {field.name for field in msgspec.structs.fields(Profile)}
    assert target_fields - route_fields == {"formats", "library"}
    assert route_fields - target_fields == set()


@pytest.mark.parametrize(
    ("model", "efforts", "default", "always"),
    [
        ("openai/gpt-4", (), None, False),
        ("openai/gpt-5", ("minimal", "low", "medium", "high"), None, True),
        ("openai/gpt-5.4", ("none", "low", "medium", "high", "xhigh"), "none", False),
        ("openai/gpt-new", None, None, False),
        ("anthropic/claude-old", (), None, False),
        ("anthropic/claude-new", ("low", "medium", "high", "max"), None, True),
        ("anthropic/claude-newer", None, None, False),
        ("groq/oss", ("medium", "high"), None, False),
        ("groq/levels", ("none", "high"), None, False),
        ("groq/odd", (), None, False),
        ("groq/unknown", None, None, False),
    ],
)
def test_efforts_are_those_of_the_map(
    model: str, efforts: tuple[str, ...] | None, default: str | None, always: bool
) -> None:
    found = profile(model)
    assert (found.efforts, found.default_effort, found.always_thinks) == (efforts, default, always)
    assert found.can_think is (model not in ("openai/gpt-4", "groq/odd"))


@pytest.mark.parametrize(
    ("model", "is_adaptive", "has_budgets"),
    [
        ("claude-old", False, True),
        ("claude-both", True, True),
        ("claude-new", True, False),
        ("claude-newer", True, False),
    ],
)
def test_claude_thinks_by_itself_or_by_a_budget(
    model: str, is_adaptive: bool, has_budgets: bool
) -> None:
    found = profile(f"anthropic/{model}")
    assert (found.is_adaptive, found.has_budgets) == (is_adaptive, has_budgets)


def test_flags_of_the_map() -> None:
    new = profile("anthropic/claude-new")
    refused = (new.takes_sampling, new.takes_forced_tools, new.takes_prefill, new.sees, new.hears)
    assert refused == (False,) * 5
    assert (new.takes_system_inside, new.takes_strict) == (True, True)
    old = profile("anthropic/claude-old")
    taken = (old.takes_sampling, old.takes_forced_tools, old.takes_prefill, old.takes_cache_marks)
    assert taken == (True,) * 4
    gpt = profile("openai/gpt-4")
    assert (gpt.sees, gpt.reads_pdf, gpt.hears, gpt.max_output) == (True, True, False, 32_768)
    assert (gpt.takes_cache_marks, gpt.system_word) == (False, "system")
    five = profile("openai/gpt-5.4")
    assert (five.takes_cache_marks, five.system_word) == (True, "developer")
    assert profile("groq/odd").max_output is None
    assert profile("deepseek/sees").sees
    assert not profile("deepseek/unknown").sees


@pytest.mark.parametrize(
    ("model", "beside"),
    [
        ("gpt-5", True),
        ("gpt-5.4", False),
    ],
)
def test_newer_models_choose_between_thinking_and_tools_in_chat(model: str, beside: bool) -> None:
    assert profile(f"openai/{model}").thinks_beside_tools is beside


@pytest.mark.parametrize(
    ("model", "fields", "formats"),
    [
        ("openai/gpt-5", {}, ("responses", "chat")),
        ("openai/gpt-pro", {}, ("responses",)),
        ("openai/gpt-pro", {"api_base": "http://x/v1", "formats": ("chat",)}, ("chat",)),
        ("openai/gpt-5", {"api_base": "http://x/v1", "formats": ("chat",)}, ("chat",)),
        ("anthropic/claude-new", {}, ("messages",)),
        ("groq/oss", {}, ("chat",)),
        ("gemini/x", {}, ("chat",)),
        (
            "gemini/x",
            {"api_base": "http://x", "formats": ("messages", "chat")},
            ("chat", "messages"),
        ),
        ("hosted_vllm/x", {"api_base": "http://x/v1", "formats": ("embeddings",)}, ("chat",)),
    ],
)
def test_formats_are_the_deployments(
    model: str, fields: dict[str, Any], formats: tuple[str, ...]
) -> None:
    assert profile(model, **fields).formats == formats


@pytest.mark.parametrize(
    ("model", "api_base", "family"),
    [
        ("openai/gpt-new", None, "openai"),
        ("openai/gpt-5", "http://x/v1", "openai"),
        ("openai/qwen", "http://x/v1", "other"),
        ("anthropic/claude-new", "http://x", "anthropic"),
        ("anthropic/kimi", "http://x", "other"),
        ("azure/mine", "http://x", "openai"),
        ("deepseek/x", "http://x", "deepseek"),
        ("gemini/x", None, "google"),
        ("bedrock/anthropic.claude-x", None, "anthropic"),
        ("cohere/x", None, "cohere"),
    ],
)
def test_thinking_belongs_to_whoever_serves_it(
    model: str, api_base: str | None, family: str
) -> None:
    assert profile(model, api_base=api_base).family == family


def test_the_route_has_the_last_word() -> None:
    changes = ProfileFields(sees=False, efforts=(), max_output=5, family="mine")
    found = profile("openai/gpt-5.4", profile=changes)
    assert (found.sees, found.efforts, found.max_output, found.family) == (False, (), 5, "mine")
    assert found.default_effort == "none"


def test_a_search_in_chat_is_for_models_that_search() -> None:
    searches = {
        (formats, model): profile_of("openai", model, formats, None, OPENAI).takes_search
        for formats in (("chat",), ("responses", "chat"))
        for model in ("gpt-x", "gpt-x-search")
    }
    assert [key for key, takes in searches.items() if not takes] == [(("chat",), "gpt-x")]
    assert profile_of("anthropic", "claude", ("messages",), None, ANTHROPIC).takes_search


def test_a_profile_is_kept_as_long_as_its_target() -> None:
    profiles = Profiles(PriceMap(json.dumps(MAP).encode()))
    first = target("openai/gpt-5")
    assert profiles.of(first) is profiles.of(first)
    changed = msgspec.structs.replace(first, profile=ProfileFields(sees=True))
    assert profiles.of(changed).sees
    assert not profiles.of(first).sees
