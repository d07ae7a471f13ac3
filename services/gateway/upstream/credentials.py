"""Resolves what a route calls a credential: the name of a secret, never the secret itself."""

from collections.abc import Mapping
from pathlib import Path

from libs.common.errors import ProviderNotConfigured
from libs.common.settings import Secret


class Credentials:
    """`env:NAME` is an environment variable, `file:NAME` a file in the directory of secrets."""

    def __init__(self, environ: Mapping[str, str], secrets_dir: Path) -> None:
        self._environ = environ
        self._secrets_dir = secrets_dir

    def get(self, name: str) -> Secret:
        """Raises ProviderNotConfigured. Files are read each time, so secrets may be rotated."""
        kind, _, rest = name.partition(":")
        value = self._environ.get(rest, "") if kind == "env" else self._read(rest)
        if not value:
            raise ProviderNotConfigured(
                f"The gateway has no credential '{name}', which the route names."
            )
        return Secret(value)

    def _read(self, name: str) -> str:
        path = self._secrets_dir / name
        if path.resolve().parent != self._secrets_dir.resolve():
            return ""
        try:
            return path.read_text().strip()
        except OSError:
            return ""
