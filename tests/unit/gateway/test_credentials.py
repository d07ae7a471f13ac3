"""Where credentials come from, and what is none."""

from pathlib import Path

import pytest

from libs.common.errors import ProviderNotConfigured
from services.gateway.upstream.credentials import Credentials


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """As Kubernetes mounts a secret: every file is a link into a directory of its version."""
    directory = tmp_path / "secrets"
    (directory / "..2026_11_24").mkdir(parents=True)
    (directory / "..2026_11_24" / "azure-key").write_text(" sk-azure\n")
    (directory / "..data").symlink_to("..2026_11_24")
    (directory / "azure-key").symlink_to("..data/azure-key")
    (tmp_path / "outside").write_text("sk-outside")
    return directory


def test_a_credential_from_a_variable(secrets: Path) -> None:
    environ = {"AZURE_KEY": "sk-env\n"}
    assert Credentials(environ, secrets).get("env:AZURE_KEY").reveal() == "sk-env"


def test_a_credential_file_is_read_each_time(secrets: Path) -> None:
    credentials = Credentials({}, secrets)
    assert credentials.get("file:azure-key").reveal() == "sk-azure"
    (secrets / "..2026_11_24" / "azure-key").write_text("sk-rotated")
    assert credentials.get("file:azure-key").reveal() == "sk-rotated"


@pytest.mark.parametrize(
    "name",
    [
        "env:UNSET",
        "env:EMPTY",
        "env:",
        "env:MONGO_URI",
        "env:REDIS_URL",
        "env:ADMIN_API_KEY",
        "env:TWO_LINES",
        "env:UMLAUT",
        "file:absent",
        "file:../outside",
        "file:/etc/hostname",
        "file:..",
        "file:.",
        "file:",
        "file:..data",
        "file:binary",
        "nothing",
    ],
)
def test_invalid_credentials_are_rejected(secrets: Path, name: str) -> None:
    (secrets / "binary").write_bytes(b"\xff\xfe")
    environ = {
        "EMPTY": " ",
        "MONGO_URI": "mongodb://user:password@host",
        "REDIS_URL": "redis://:password@host",
        "ADMIN_API_KEY": "admin",
        "TWO_LINES": "sk\r\nx-other: header",
        "UMLAUT": "ü",
    }
    with pytest.raises(ProviderNotConfigured, match="lacks the credential"):
        Credentials(environ, secrets).get(name)
