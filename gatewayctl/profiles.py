"""Which admin API a command talks to, and with which key.

An option comes before the environment, the environment before the profile. A profile file holds
admin keys, so its owner alone can read it (mode 600), and one that others can read is refused.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gatewayctl.errors import Misused, Refused
from gatewayctl.files import replace_file

URL, KEY, PROFILE, FILE = (
    "GATEWAYCTL_URL",
    "GATEWAYCTL_KEY",
    "GATEWAYCTL_PROFILE",
    "GATEWAYCTL_PROFILES",
)
_OTHERS = 0o077
_PRIVATE = 0o600


@dataclass(frozen=True, kw_only=True)
class Connection:
    """`key` is kept out of the repr; `source` says where the two came from."""

    url: str
    key: str = field(repr=False)
    source: str


@dataclass(frozen=True, kw_only=True)
class SavedProfiles:
    """By name; `current` is the one that is used where none is named."""

    current: str | None = None
    by_name: Mapping[str, Connection] = field(default_factory=dict)


def file_of(environ: Mapping[str, str]) -> Path:
    if path := environ.get(FILE):
        return Path(path)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")) / ".config")
    return Path(base).expanduser() / "gatewayctl" / "profiles.json"


def read_profiles(path: Path) -> SavedProfiles:
    """None where there is no file. Raises Misused, and Refused for one that others can read."""
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        return SavedProfiles()
    except (OSError, UnicodeDecodeError) as error:
        raise Misused(f"{path} cannot be read: {error}") from None
    if os.name == "posix" and mode & _OTHERS:
        raise Refused(
            f"{path} holds admin keys, and others can read it.", way_out=f"chmod 600 {path}"
        )
    try:
        return _profiles(json.loads(text), path)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Misused(
            f"{path} is not a profile file.", way_out="remove it, and run gatewayctl login again"
        ) from None


def _profiles(content: Any, path: Path) -> SavedProfiles:
    connections = {
        name: Connection(
            url=str(profile["url"]), key=str(profile["key"]), source=f"profile {name} of {path}"
        )
        for name, profile in content["profiles"].items()
    }
    return SavedProfiles(current=content["current"], by_name=connections)


def write_profiles(path: Path, profiles: SavedProfiles) -> None:
    """Raises Misused."""
    content = {
        "current": profiles.current,
        "profiles": {
            name: {"url": saved.url, "key": saved.key} for name, saved in profiles.by_name.items()
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replace_file(path, mode=_PRIVATE) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())
    except OSError as error:
        raise Misused(f"{path} cannot be written: {error}") from None


def connection_of(
    environ: Mapping[str, str], *, url: str | None = None, profile: str | None = None
) -> Connection:
    """Raises Misused and Refused."""
    name = profile or environ.get(PROFILE)
    if name is None and environ.get(KEY):
        address = url or environ.get(URL)
        if not address:
            raise Misused(f"{KEY} is set and {URL} is not.", way_out=f"set {URL}, or give --url")
        return Connection(url=checked_url(address), key=environ[KEY].strip(), source=KEY)
    saved = _profile_connection(environ, name)
    address = url or environ.get(URL)
    if saved is not None:
        return Connection(url=checked_url(address or saved.url), key=saved.key, source=saved.source)
    if key := environ.get("ADMIN_API_KEY"):
        # In the admin service's own container.
        base = f"http://127.0.0.1:{environ.get('ADMIN_PORT', '8001')}"
        return Connection(url=checked_url(address or base), key=key.strip(), source="ADMIN_API_KEY")
    raise Refused("There is no admin key.", way_out=f"gatewayctl login, or set {URL} and {KEY}")


def _profile_connection(environ: Mapping[str, str], name: str | None) -> Connection | None:
    profiles = read_profiles(file_of(environ))
    if name is None:
        return None if profiles.current is None else profiles.by_name.get(profiles.current)
    connection = profiles.by_name.get(name)
    if connection is None:
        known = ", ".join(profiles.by_name) or "none"
        raise Misused(
            f"There is no profile {name!r}; there are: {known}.",
            way_out=f"gatewayctl login --profile {name}",
        )
    return connection


def checked_url(url: str) -> str:
    """Without a slash at its end. Raises Misused."""
    parts = urlsplit("")
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        is_valid = is_valid and not (parts.query or parts.fragment or parts.username)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise Misused(
            f"{url!r} is not the address of an admin API.",
            way_out="it is like http://localhost:8001",
        )
    # People copy the path of an endpoint, or the console's.
    path = parts.path.rstrip("/").removesuffix("/console").removesuffix("/admin")
    return f"{parts.scheme}://{parts.netloc}{path}"
