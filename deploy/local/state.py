"""The state of a stack between commands: its ports, secrets and kind."""

import os
import secrets
from pathlib import Path
from typing import Literal

import msgspec

StackKind = Literal["docker", "local"]


class StackState(msgspec.Struct, kw_only=True):
    kind: StackKind | None = None
    ports: dict[str, int] = {}
    admin_api_key: str = ""
    demo_api_key: str = ""


class StackInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses and keys of a started stack, as in `stack.env`."""

    gateway_url: str
    admin_url: str
    admin_api_key: str
    demo_api_key: str
    demo_user_id: str
    mongo_uri: str
    redis_url: str
    # Empty when real providers are configured.
    provider_url: str

    def as_env(self) -> str:
        values = msgspec.structs.asdict(self)
        return "".join(f"{name.upper()}={value}\n" for name, value in values.items())


def load_state(directory: Path) -> StackState:
    try:
        state = msgspec.json.decode((directory / "state.json").read_bytes(), type=StackState)
    except FileNotFoundError:
        state = StackState()
    if not state.admin_api_key:
        state.admin_api_key = new_admin_key()
    return state


def save_state(directory: Path, state: StackState) -> None:
    write_private(directory / "state.json", msgspec.json.format(msgspec.json.encode(state)))


def new_admin_key() -> str:
    return f"admin-{secrets.token_urlsafe(32)}"


def write_private(path: Path, content: bytes) -> None:
    """Replace a file that holds secrets, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    draft.replace(path)
