"""What deployments have of another gateway's: an address, and a key by the name of a variable."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gatewayctl.migration.plan import Fields
from gatewayctl.values import Row


class SecretVariables:
    """Of secrets that stand in a file: the variable that the gateway is to be given each by.

    `taken` are variables that the file names itself, which hold other secrets.
    """

    def __init__(self, taken: Collection[str]) -> None:
        self._taken = set(taken)
        self._named: dict[str, str] = {}

    def of(self, secret: str, provider: str) -> str:
        """The same variable for the same secret, and no other's."""
        if secret not in self._named:
            stem = name = re.sub(r"[^A-Z0-9]", "_", provider.upper()) + "_API_KEY"
            number = 1
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._named[secret] = name
        return self._named[secret]


def texts_of(value: Any) -> Iterator[str]:
    """All texts in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)


def add_base(fields: Fields, deployment: Row, base: str, provider: str) -> None:
    """Another's API in OpenAI's form may not speak all of its formats."""
    deployment["api_base"] = base
    name = "api_base" if fields.has("api_base") else "base_url"
    if provider == "openai" and "api.openai.com" not in base:
        deployment["formats"] = ["chat", "embeddings"]
        said = "is asked in the formats chat and embeddings; add responses where it speaks it"
        fields.adapted(name, said=said)
    else:
        fields.carried(name)
