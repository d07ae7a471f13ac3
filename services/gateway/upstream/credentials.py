"""Resolves a route's credential, which is the name of a secret."""

from collections.abc import Mapping
from pathlib import Path

from libs.common.errors import ProviderNotConfigured
from libs.common.schemas.route import NOT_FOR_PROVIDERS
from libs.common.settings import Secret, is_line


class Credentials:
    """`env:NAME` is an environment variable, `file:NAME` a file in the directory of secrets."""

    def __init__(self, environ: Mapping[str, str], secrets_dir: Path) -> None:
        self._environ = environ
        self._secrets_dir = secrets_dir

    def get(self, name: str) -> Secret:
        """Raises ProviderNotConfigured. Files are read each time, so secrets may be rotated."""
        kind, _, secret_name = name.partition(":")
        value = (self._variable(secret_name) if kind == "env" else self._read(secret_name)).strip()
        if not value or not is_line(value):
            raise ProviderNotConfigured(
                f"The gateway lacks the credential '{name}', which the route names."
            )
        return Secret(value)

    def _variable(self, name: str) -> str:
        return "" if name in NOT_FOR_PROVIDERS else self._environ.get(name, "")

    def _read(self, name: str) -> str:
        # The name must stay in the directory. Links may lead elsewhere: Kubernetes mounts every
        # secret as a link.
        if "/" in name or name in ("", ".", ".."):
            return ""
        try:
            return (self._secrets_dir / name).read_text()
        except (OSError, ValueError):
            return ""
