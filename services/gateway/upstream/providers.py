"""The providers that the gateway talks to itself, and how a model's name leads to one of them."""

import msgspec

from libs.common.errors import Unavailable
from libs.common.schemas.usage import ClientFormat
from libs.common.settings import Secret
from libs.common.storage.price_map import PriceMap
from services.gateway.settings import Settings

ANTHROPIC_VERSION = "2023-06-01"


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
    prefixes: tuple[str, ...]

    def speaks(self, client_format: ClientFormat) -> bool:
        return client_format in self.paths

    def require_key(self) -> str:
        """Raises Unavailable where the gateway was started without the provider's key."""
        if not self.api_key:
            raise Unavailable(
                f"The gateway has no key for provider '{self.name}': set {self.key_variable}."
            )
        return self.api_key.reveal()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a call goes. `native` is None for a provider that only LiteLLM speaks to."""

    provider: str
    model: str
    native: Provider | None


class ModelDirectory:
    """Resolves the names that clients use, from LiteLLM's map and the table of providers."""

    def __init__(self, settings: Settings, price_map: PriceMap) -> None:
        self._price_map = price_map
        self._native = {provider.name: provider for provider in _providers(settings)}
        self._known_providers = price_map.providers() | self._native.keys()

    def resolve(self, name: str) -> Target | None:
        """None where nothing says which provider serves the model."""
        prefix, slash, rest = name.partition("/")
        if slash and prefix in self._native:
            return self._target(prefix, rest)
        row = self._price_map.get(name)
        if row is not None:
            return self._target(row.provider, name.removeprefix(f"{row.provider}/"))
        if slash and prefix in self._known_providers:
            return self._target(prefix, rest)
        for provider in self._native.values():
            if name.startswith(provider.prefixes):
                return self._target(provider.name, name)
        return None

    def offered(self) -> list[str]:
        """The models of the providers that the gateway has a key for, by the map's names."""
        configured = {name for name, provider in self._native.items() if provider.api_key}
        return self._price_map.names_of(configured)

    def _target(self, provider: str, model: str) -> Target:
        return Target(provider=provider, model=model, native=self._native.get(provider))


def _providers(settings: Settings) -> tuple[Provider, ...]:
    return (
        Provider(
            name="openai",
            base_url=settings.openai_base_url.rstrip("/"),
            api_key=settings.openai_api_key,
            key_variable="OPENAI_API_KEY",
            paths={"chat": "/chat/completions", "responses": "/responses"},
            prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4"),
        ),
        Provider(
            name="anthropic",
            base_url=settings.anthropic_base_url.rstrip("/"),
            api_key=settings.anthropic_api_key,
            key_variable="ANTHROPIC_API_KEY",
            paths={"messages": "/v1/messages"},
            prefixes=("claude-",),
        ),
    )
