"""Addresses and keys of another gateway's deployments; keys become names of variables."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gatewayctl.migration.plan import Fields
from gatewayctl.values import Row

# Of a variable's name, so that it is short enough with what comes behind.
_MAX_STEM = 100


class SecretVariables:
    """Of secrets that stand in a file: the variable that the gateway is to be given each by.

    `reserved` are variables that the file names itself, which hold other secrets.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        self._used_names = set(reserved)
        self._by_secret: dict[str, str] = {}

    def of(self, secret: str, provider: str, base: str | None) -> str:
        """The same variable for the same secret, and no other's.

        That of a `base` has its host in its name: the gateway sends what is in the provider's own
        variable, such as OPENAI_API_KEY, to the provider's own address.
        """
        if secret not in self._by_secret:
            words = provider if base is None else f"{provider}_{_host_of(base)}"
            stem = name = re.sub(r"[^A-Z0-9]", "_", words.upper())[:_MAX_STEM] + "_API_KEY"
            number = 1
            while name in self._used_names:
                number += 1
                name = f"{stem}_{number}"
            self._used_names.add(name)
            self._by_secret[secret] = name
        return self._by_secret[secret]


def _host_of(base: str) -> str:
    try:
        return urlsplit(base).hostname or "other"
    except ValueError:
        return "other"


def texts_within(value: Any) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_within(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_within(each)


def add_base(fields: Fields, deployment: Row, base: str, provider: str) -> None:
    """Another's API in OpenAI's form may not speak all of its formats."""
    deployment["api_base"] = base
    name = "api_base" if fields.has("api_base") else "base_url"
    if provider == "openai" and "api.openai.com" not in base:
        deployment["formats"] = ["chat", "embeddings"]
        note = "is asked in the formats chat and embeddings; add responses where it speaks it"
        fields.adapted(name, note=note)
    else:
        fields.carried(name)
