"""Reads the addresses and keys of the table's providers from the environment."""

from collections.abc import Mapping

import msgspec

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.usage import ClientFormat
from libs.common.settings import Secret, check_header, check_http_url
from services.gateway.directory.provider_rows import (
    ANTHROPIC,
    ANTHROPIC_PATHS,
    OPENAI,
    OPENAI_PATHS,
    ROWS,
    ProviderRow,
)
from services.gateway.settings import Settings


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A row with its address and key. A bare name with one of its prefixes is one of its models.

    `was_translated`: LiteLLM's adapters know the provider too, and a route may use them.
    """

    name: str
    base_url: str | None
    api_key: Secret | None
    key_variable: str | None
    has_other_credentials: bool = False
    paths: Mapping[ClientFormat, str]
    prefixes: tuple[str, ...] = ()
    completes_base: str = ""
    names: str = ""
    relays: bool = True
    was_translated: bool = True
    defaults: ProfileFields
    # See Target; for a base URL that is not the provider's own.
    defaults_elsewhere: ProfileFields | None = None
    is_elsewhere: bool = False


def read_providers(settings: Settings, environ: Mapping[str, str]) -> tuple[Provider, ...]:
    """Raises SettingsError for an invalid variable."""
    return (*_providers_of_settings(settings), *(_read_provider(row, environ) for row in ROWS))


def _providers_of_settings(settings: Settings) -> tuple[Provider, ...]:
    default = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    return (
        Provider(
            name="openai",
            base_url=settings.openai_base_url.rstrip("/"),
            api_key=settings.openai_api_key,
            key_variable="OPENAI_API_KEY",
            paths=OPENAI_PATHS,
            prefixes=("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:"),
            was_translated=False,
            defaults=OPENAI,
            defaults_elsewhere=ProfileFields(family="other"),
            is_elsewhere=settings.openai_base_url != default["openai_base_url"],
        ),
        Provider(
            name="anthropic",
            base_url=settings.anthropic_base_url.rstrip("/"),
            api_key=settings.anthropic_api_key,
            key_variable="ANTHROPIC_API_KEY",
            paths=ANTHROPIC_PATHS,
            prefixes=("claude-",),
            was_translated=False,
            defaults=ANTHROPIC,
            defaults_elsewhere=ProfileFields(
                family="other", takes_top_k=True, has_budgets=True, takes_system_inside=False
            ),
            is_elsewhere=settings.anthropic_base_url != default["anthropic_base_url"],
        ),
    )


def _read_provider(row: ProviderRow, environ: Mapping[str, str]) -> Provider:
    base_url = environ.get(row.base_variable, "").strip() or row.base_url
    if base_url is not None:
        check_http_url(row.base_variable, base_url)
        base_url = with_version(base_url, row.completes_base)
    api_key = None
    for variable in row.key_variables:
        value = environ.get(variable, "").strip()
        if value:
            api_key = Secret(value)
            check_header(variable, api_key)
            break
    return Provider(
        name=row.name,
        base_url=base_url,
        api_key=api_key,
        key_variable=row.key_variables[0] if row.needs_key else None,
        has_other_credentials=row.has_other_credentials,
        paths=row.paths,
        completes_base=row.completes_base,
        names=row.names,
        relays=row.relays,
        defaults=row.defaults,
    )


def with_version(base_url: str, completes_base: str) -> str:
    """Appends the version: `/openai/v1` to `https://x.openai.azure.com`."""
    base_url = base_url.rstrip("/")
    if not completes_base or base_url.endswith("/v1"):
        return base_url
    head = completes_base.removesuffix("/v1")
    return (base_url.removesuffix(head) if head else base_url) + completes_base
