"""From the name that a client uses to the provider that serves it."""

import json

import pytest

from libs.common.settings import Secret
from libs.common.storage.prices.price_map import PriceMap
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
    "nobody": row(""),
}


def directory(*, openai: bool = False, anthropic: bool = False) -> ModelDirectory:
    """With a key for those providers."""
    settings = Settings(
        mongo_uri=Secret("mongodb://nowhere"),
        redis_url=Secret("redis://nowhere"),
        openai_api_key=Secret("k") if openai else None,
        anthropic_api_key=Secret("k") if anthropic else None,
    )
    return ModelDirectory(settings, PriceMap(json.dumps(MAP).encode()))


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
        ("mistral-tiny", "mistral", "mistral-tiny", False),
        ("mistral/new", "mistral", "new", False),
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


def test_models_of_providers_with_a_key_are_listed() -> None:
    assert directory().offered() == ()
    assert directory(openai=True).offered() == ("embed-1", "gpt-4o", "o3-pro")
    both = directory(openai=True, anthropic=True).offered()
    assert both == ("claude-haiku", "embed-1", "gpt-4o", "o3-pro")
