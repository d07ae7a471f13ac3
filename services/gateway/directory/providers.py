"""The providers that the gateway talks to itself, and how a model's name leads to one of them."""

import msgspec

from libs.common.schemas.usage import ClientFormat
from libs.common.settings import Secret
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.calls.target import Target
from services.gateway.settings import Settings

# Each format's path below a provider's base URL.
_OPENAI_PATHS: dict[ClientFormat, str] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
}
_ANTHROPIC_PATHS: dict[ClientFormat, str] = {"messages": "/v1/messages"}
_PATHS = _OPENAI_PATHS | _ANTHROPIC_PATHS


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider with an API of its own that clients speak too.

    `paths` are relative to `base_url`, one per format that it speaks; a bare model name that
    starts with one of `prefixes` is one of its models.
    """

    name: str
    base_url: str
    api_key: Secret | None
    key_variable: str
    paths: dict[ClientFormat, str]
    prefixes: tuple[str, ...] = ()


class ModelDirectory:
    """Resolves the names that clients use, from LiteLLM's map and the table of providers."""

    def __init__(self, settings: Settings, price_map: PriceMap) -> None:
        self._price_map = price_map
        self._native = {provider.name: provider for provider in _providers(settings)}
        self._known_providers = (price_map.providers() | self._native.keys()) - {""}
        configured = {name for name, provider in self._native.items() if provider.api_key}
        self._offered = tuple(price_map.names_of(configured))

    def resolve(self, name: str) -> Target | None:
        """None where nothing says which provider serves the model."""
        prefix, slash, rest = name.partition("/")
        if slash and not rest:
            return None
        if slash and prefix in self._native:
            return self.target(prefix, rest)
        row = self._price_map.get(name)
        if row is not None and row.provider:
            return self.target(row.provider, name.removeprefix(f"{row.provider}/"))
        if slash and prefix in self._known_providers:
            return self.target(prefix, rest)
        for provider in self._native.values():
            if name.startswith(provider.prefixes):
                return self.target(provider.name, name)
        return None

    def offered(self) -> tuple[str, ...]:
        """The models of the providers that the gateway has a key for, by the map's names."""
        return self._offered

    def target(self, provider: str, model: str) -> Target:
        """The provider's own endpoint and key."""
        native = self._native.get(provider)
        deployment_id = f"{provider}/{model}"
        if native is None:
            return Target(deployment_id=deployment_id, provider=provider, model=model)
        return Target(
            deployment_id=deployment_id,
            provider=provider,
            model=model,
            base_url=native.base_url,
            api_key=native.api_key,
            key_variable=native.key_variable,
            paths=native.paths,
        )


def paths_of(formats: tuple[ClientFormat, ...], base_url: str) -> dict[ClientFormat, str]:
    """Where an endpoint that speaks those formats serves them.

    OpenAI's base ends in `/v1` and Anthropic's does not; one that serves both has one base.
    """
    paths = {client_format: _PATHS[client_format] for client_format in formats}
    if base_url.endswith("/v1"):
        return {name: path.removeprefix("/v1") for name, path in paths.items()}
    return paths


def _providers(settings: Settings) -> tuple[Provider, ...]:
    return (
        Provider(
            name="openai",
            base_url=settings.openai_base_url.rstrip("/"),
            api_key=settings.openai_api_key,
            key_variable="OPENAI_API_KEY",
            paths=_OPENAI_PATHS,
            prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:"),
        ),
        Provider(
            name="anthropic",
            base_url=settings.anthropic_base_url.rstrip("/"),
            api_key=settings.anthropic_api_key,
            key_variable="ANTHROPIC_API_KEY",
            paths=_ANTHROPIC_PATHS,
            prefixes=("claude-",),
        ),
    )
