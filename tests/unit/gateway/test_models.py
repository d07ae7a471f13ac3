"""From the name that a client uses to the provider that serves it."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from libs.common.schemas.route import NATIVE_PROVIDERS, Deployment
from libs.common.settings import Secret, SettingsError
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.directory.provider_rows import ROWS
from services.gateway.directory.providers import ModelDirectory
from services.gateway.settings import Settings

PRICED = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}


def row(provider: str, mode: str = "chat") -> dict[str, object]:
    return {"litellm_provider": provider, "mode": mode, **PRICED}


MAP = {
    "gpt-4o": row("openai"),
    "gpt-image": {"litellm_provider": "openai", "mode": "image_generation"},
    "o3-pro": row("openai", "responses"),
    "embed-1": row("openai", "embedding"),
    "claude-haiku": row("anthropic"),
    "gemini/gemini-pro": row("gemini"),
    "mistral-tiny": row("mistral"),
    "anthropic.claude-4": row("bedrock_converse"),
    "gemini-pro": row("vertex_ai-language-models"),
    "vertex_ai/claude-5": row("vertex_ai-anthropic_models"),
    "nobody": row(""),
}


def directory(
    *, openai: bool = False, anthropic: bool = False, environ: Mapping[str, str] | None = None
) -> ModelDirectory:
    """With a key for those providers, and what the environment says of others."""
    settings = Settings(
        mongo_uri=Secret("mongodb://nowhere"),
        redis_url=Secret("redis://nowhere"),
        openai_api_key=Secret("k") if openai else None,
        anthropic_api_key=Secret("k") if anthropic else None,
    )
    return ModelDirectory(settings, PriceMap(json.dumps(MAP).encode()), environ or {})


@pytest.mark.parametrize(
    ("name", "provider", "model", "native"),
    [
        ("gpt-4o", "openai", "gpt-4o", True),
        ("openai/gpt-4o", "openai", "gpt-4o", True),
        ("openai/anything/at-all", "openai", "anything/at-all", True),
        ("anthropic/claude-new", "anthropic", "claude-new", True),
        ("claude-haiku", "anthropic", "claude-haiku", True),
        # Not in the map, but of a family.
        ("gpt-99", "openai", "gpt-99", True),
        ("o3-next", "openai", "o3-next", True),
        ("claude-99", "anthropic", "claude-99", True),
        ("ft:gpt-4o:acme::Abc123", "openai", "ft:gpt-4o:acme::Abc123", True),
        # The map's own names of other providers, with and without the provider in them.
        ("gemini/gemini-pro", "gemini", "gemini-pro", False),
        ("mistral-tiny", "mistral", "mistral-tiny", True),
        ("mistral/new", "mistral", "new", True),
        # Kinds of models that the map tells apart are of one provider.
        ("anthropic.claude-4", "bedrock", "anthropic.claude-4", False),
        ("bedrock/anthropic.claude-4", "bedrock", "anthropic.claude-4", False),
        ("gemini-pro", "vertex_ai", "gemini-pro", False),
        ("vertex_ai/claude-5", "vertex_ai", "claude-5", False),
        # Of the table, with and without an address or a key.
        ("groq/openai/gpt-oss", "groq", "openai/gpt-oss", True),
        ("openrouter/a/b:free", "openrouter", "a/b:free", True),
        ("hosted_vllm/qwen", "hosted_vllm", "qwen", False),
        ("azure/mine", "azure", "mine", False),
        ("fireworks_ai/accounts/x/models/y", "fireworks_ai", "accounts/x/models/y", True),
        ("fireworks_ai/glm", "fireworks_ai", "glm", False),
    ],
)
def test_a_name_resolves_to_a_provider(name: str, provider: str, model: str, native: bool) -> None:
    models = directory()
    for _ in range(2):
        target = models.resolve(name)

        assert target is not None
        assert (target.provider, target.model) == (provider, model)
        assert (target.base_url is not None) is native


@pytest.mark.parametrize(
    "name", ["", "llama", "unheard-of/model", "/gpt-4o", "openai", "openai/", "GPT-4o"]
)
def test_an_unknown_name_is_rejected(name: str) -> None:
    assert directory().resolve(name) is None


def test_each_provider_has_its_formats() -> None:
    models = directory()
    openai, anthropic = models.resolve("gpt-4o"), models.resolve("claude-haiku")

    assert openai is not None
    assert anthropic is not None
    formats = ("chat", "messages", "responses", "embeddings")
    assert [openai.speaks(name) for name in formats] == [True, False, True, True]  # type: ignore[arg-type]
    assert [anthropic.speaks(name) for name in formats] == [False, True, False, False]  # type: ignore[arg-type]


def test_models_without_chat_are_asked_by_responses() -> None:
    models = directory()
    for name, speaks_chat in (("gpt-4o", True), ("o3-pro", False), ("openai/o3-new", True)):
        target = models.resolve(name)
        assert target is not None
        assert (target.speaks("chat"), target.speaks("responses")) == (speaks_chat, True)


def test_models_of_providers_with_a_key_are_listed() -> None:
    assert directory().offered_models() == ()
    assert directory(openai=True).offered_models() == ("embed-1", "gpt-4o", "o3-pro")
    both = directory(openai=True, anthropic=True).offered_models()
    assert both == ("claude-haiku", "embed-1", "gpt-4o", "o3-pro")


AZURE = "https://x.openai.azure.com"


@pytest.mark.parametrize(
    ("name", "environ", "base_url", "key"),
    [
        ("groq/x", {}, "https://api.groq.com/openai/v1", None),
        ("groq/x", {"GROQ_API_KEY": " k\n"}, "https://api.groq.com/openai/v1", "k"),
        ("groq/x", {"GROQ_API_BASE": "http://g/v9/"}, "http://g/v9", None),
        ("together_ai/x", {"TOGETHER_AI_TOKEN": "k"}, "https://api.together.ai/v1", "k"),
        ("hosted_vllm/x", {"HOSTED_VLLM_API_BASE": "http://v:8000/v1"}, "http://v:8000/v1", None),
        ("ollama/x", {}, "http://localhost:11434/v1", None),
        ("ollama/x", {"OLLAMA_API_BASE": "http://o/v1/"}, "http://o/v1", None),
        ("mistral/x", {"MISTRAL_API_BASE": "https://m.example"}, "https://m.example/v1", None),
        ("azure/x", {"AZURE_API_BASE": AZURE, "AZURE_API_KEY": "k"}, f"{AZURE}/openai/v1", "k"),
        # LiteLLM may have a token of Entra's.
        ("azure/x", {"AZURE_API_BASE": AZURE}, None, None),
        ("azure/x", {"AZURE_API_KEY": "k"}, None, None),
    ],
)
def test_a_provider_is_where_the_environment_says(
    name: str, environ: dict[str, str], base_url: str | None, key: str | None
) -> None:
    target = directory(environ=environ).resolve(name)
    assert target is not None
    assert target.base_url == base_url
    assert (target.api_key and target.api_key.reveal()) == key


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GROQ_API_BASE", "groq.example"), ("XAI_API_KEY", "a\nb"), ("OLLAMA_API_BASE", "http://a b")],
)
def test_a_wrong_variable_of_a_provider_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        directory(environ={variable: value})


def test_a_key_that_is_missing_is_named_where_one_is_needed() -> None:
    models = directory(environ={"HOSTED_VLLM_API_BASE": "http://v/v1"})
    variables = {name: models.target(name, "x").key_variable for name in ("groq", "hosted_vllm")}
    assert variables == {"groq": "GROQ_API_KEY", "hosted_vllm": None}


@pytest.mark.parametrize(
    ("model", "api_base", "formats", "base_url", "paths"),
    [
        ("azure/x", AZURE, None, f"{AZURE}/openai/v1", {"chat", "responses", "embeddings"}),
        ("azure/x", f"{AZURE}/openai/", ("chat",), f"{AZURE}/openai/v1", {"chat"}),
        ("azure/x", f"{AZURE}/openai/v1", ("chat",), f"{AZURE}/openai/v1", {"chat"}),
        ("hosted_vllm/x", "http://v/v1", None, "http://v/v1", {"chat", "embeddings"}),
        ("fireworks_ai/x", "http://f/v1", ("chat",), "http://f/v1", {"chat"}),
        ("fireworks_ai/x", "http://f/v1", None, "http://f/v1", set()),
        ("gemini/x", "http://g/v1", None, "http://g/v1", set()),
        ("gemini/x", "http://g/v1", ("chat",), "http://g/v1", {"chat"}),
    ],
)
def test_a_deployment_is_at_its_own_base(
    model: str, api_base: str, formats: Any, base_url: str, paths: set[str]
) -> None:
    models = directory(environ={"AZURE_API_KEY": "k", "FIREWORKS_API_KEY": "k"})
    target = models.deployment_target(
        Deployment(deployment_id="d", model=model, api_base=api_base, formats=formats)
    )
    assert (target.base_url, set(target.paths)) == (base_url, paths)
    # A provider's own key goes to the provider's own address alone.
    assert target.api_key is None
    assert target.key_variable is None


def test_a_deployment_can_be_left_to_the_library() -> None:
    models = directory(openai=True, environ={"GROQ_API_KEY": "k"})

    def paths(model: str, formats: Any = None) -> set[str]:
        base = None if formats is None else "http://g/v1"
        deployment = Deployment(
            deployment_id="d",
            model=model,
            api_base=base,
            formats=formats,
            translation="library",
        )
        return set(models.deployment_target(deployment).paths)

    assert paths("groq/x") == set()
    assert paths("groq/x", ("chat",)) == {"chat"}
    assert paths("openai/x") == {"chat", "responses", "embeddings"}


@pytest.mark.parametrize("provider", ["mistral", "cohere_chat"])
def test_a_provider_that_refuses_unknown_fields_is_not_relayed_to(provider: str) -> None:
    target = directory(environ={"COHERE_API_KEY": "k"}).target(provider, "x")
    assert target.paths.keys() == {"chat"}
    assert not target.speaks("chat")


def test_providers_have_the_addresses_and_keys_that_litellm_knows() -> None:
    """As text: importing it takes seconds."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    places = ("main.py", "constants.py", "litellm_core_utils/get_llm_provider_logic.py")
    text = "".join((package / place).read_text() for place in places)
    text += "".join(path.read_text() for path in (package / "llms").rglob("*.py"))
    for row in ROWS:
        if row.name == "sglang":
            continue
        if row.name == "cohere_chat":
            # Asked by another of its APIs than LiteLLM asks it by.
            assert all(f'"{variable}"' in text for variable in row.key_variables)
            continue
        for variable in (row.base_variable, *row.key_variables):
            assert f'"{variable}"' in text, variable
        if row.base_url is not None:
            assert f'"{row.base_url}"' in text, row.name


def test_every_variable_of_a_provider_is_documented() -> None:
    root = Path(__file__).parents[3]
    example, readme = (root / ".env.example").read_text(), (root / "README.md").read_text()
    for row in ROWS:
        assert f"`{row.name}`" in readme
        for variable in (row.base_variable, *row.key_variables[:1]):
            assert f"\n{variable}=\n" in example, variable


def test_the_admin_service_knows_every_provider_of_the_table() -> None:
    assert {row.name for row in ROWS} | {"openai", "anthropic"} == NATIVE_PROVIDERS
