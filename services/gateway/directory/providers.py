"""Resolves a model's name to its provider, and a deployment to its endpoint."""

from collections.abc import Mapping

from libs.common.schemas.route import Deployment
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.prices.price_map import PriceMap
from services.gateway.calls.target import Target
from services.gateway.directory.library_rows import library_target
from services.gateway.directory.provider_endpoints import Provider, read_providers, with_version
from services.gateway.directory.provider_rows import ANTHROPIC_PATHS, OPENAI_PATHS
from services.gateway.directory.regions import region_of
from services.gateway.formats import CHAT
from services.gateway.settings import Settings

_PATHS = OPENAI_PATHS | ANTHROPIC_PATHS


class ModelDirectory:
    """Resolves names by LiteLLM's map and the table of providers."""

    def __init__(self, settings: Settings, price_map: PriceMap, environ: Mapping[str, str]) -> None:
        """Raises SettingsError for an invalid variable of a provider."""
        self._price_map = price_map
        self._native = {each.name: each for each in read_providers(settings, environ)}
        self._known_providers = (price_map.providers | self._native.keys()) - {""}
        configured = {name for name, provider in self._native.items() if provider.api_key}
        self._offered = tuple(price_map.names_of(configured))

    def resolve(self, name: str) -> Target | None:
        """None if the model's provider is unknown."""
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

    def offered_models(self) -> tuple[str, ...]:
        """The map's models of the providers that the gateway has a key for."""
        return self._offered

    def target(self, provider: str, model: str) -> Target:
        """The table's endpoint and key; without a row, LiteLLM's adapter."""
        native = self._native.get(provider)
        if native is None or not _is_usable(native, model):
            return library_target(provider, model)
        return Target(
            deployment_id=f"{provider}/{model}",
            provider=provider,
            model=model,
            base_url=native.base_url,
            api_key=native.api_key,
            key_variable=native.key_variable,
            paths=self._served_paths(native, model),
            relays=native.relays,
            region=region_of(native.base_url),
            defaults=native.defaults,
            defaults_elsewhere=native.defaults_elsewhere if native.is_elsewhere else None,
        )

    def _served_paths(self, native: Provider, model: str) -> dict[ClientFormat, str]:
        """OpenAI's models without a chat API are called by Responses."""
        row = self._price_map.abilities(native.name, model) or {}
        is_chatless = row.get("mode") == "responses" and CHAT.path not in (
            row.get("supported_endpoints") or ()
        )
        paths = dict(native.paths)
        if is_chatless and "responses" in paths:
            del paths["chat"]
        return paths

    def deployment_target(self, deployment: Deployment) -> Target:
        """A deployment's own endpoint, or its provider's."""
        provider, _, model = deployment.model.partition("/")
        native = self._native.get(provider)
        if native is not None and not _is_native(native, model, deployment):
            native = None
        if deployment.api_base is None:
            return (
                library_target(provider, model) if native is None else self.target(provider, model)
            )
        base_url = deployment.api_base.rstrip("/")
        if native is None:
            formats = deployment.formats or ()
            return library_target(provider, model, base_url, paths_of(formats, base_url))
        base_url = with_version(base_url, native.completes_base)
        formats = tuple(native.paths) if deployment.formats is None else deployment.formats
        # A provider's own key is sent only to the provider's own address.
        return Target(
            deployment_id=deployment.deployment_id,
            provider=provider,
            model=model,
            base_url=base_url,
            paths=paths_of(formats, base_url),
            relays=native.relays or deployment.formats is not None,
            defaults=native.defaults,
            defaults_elsewhere=native.defaults_elsewhere,
        )


def paths_of(formats: tuple[ClientFormat, ...], base_url: str) -> dict[ClientFormat, str]:
    """The path of each format below the base URL.

    OpenAI's base URL ends in `/v1` and Anthropic's does not; an endpoint of both has one base URL.
    """
    paths = {client_format: _PATHS[client_format] for client_format in formats}
    if base_url.endswith("/v1"):
        return {name: path.removeprefix("/v1") for name, path in paths.items()}
    return paths


def _is_usable(native: Provider, model: str) -> bool:
    if native.base_url is None or (native.has_other_credentials and not native.api_key):
        return False
    return model.startswith(native.names)


def _is_native(native: Provider, model: str, deployment: Deployment) -> bool:
    """A deployment that states its formats is called without LiteLLM."""
    if deployment.formats is not None:
        return True
    if deployment.translation == "library" and native.was_translated:
        return False
    return model.startswith(native.names)
