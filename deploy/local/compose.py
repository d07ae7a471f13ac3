"""The same stack under Docker Compose."""

import os
import re
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local.environment import ROOT, needs_stand_in, read_environment
from deploy.local.errors import StackError
from deploy.local.ports import HOST
from deploy.local.seed import DEMO_USER_ID, seed_demo
from deploy.local.servers import stand_in_settings
from deploy.local.state import (
    StackInfo,
    load_state,
    new_admin_key,
    save_state,
    write_private,
)

STAND_IN_URL = "http://provider:9000"
ENGINE_TIMEOUT_S = 30
USERS = ("GATEWAY", "ADMIN", "WORKER")
PASSWORDS = (
    "MONGO_ROOT_PASSWORD",
    *(f"MONGO_{user}_PASSWORD" for user in USERS),
    *(f"REDIS_{user}_PASSWORD" for user in USERS),
)
SECRETS = ("ADMIN_API_KEY", *PASSWORDS)
# Characters that a URL needs not encode.
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
EVERY_PROFILE = ("--profile", "stand-in")


def is_available() -> bool:
    """Whether a Docker engine answers and Compose is installed."""
    commands = (("docker", "info"), ("docker", "compose", "version"))
    try:
        return all(
            subprocess.run(
                command, capture_output=True, check=False, timeout=ENGINE_TIMEOUT_S
            ).returncode
            == 0
            for command in commands
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def up(directory: Path, environment: Mapping[str, str]) -> StackInfo:
    if not is_available():
        raise StackError("no Docker engine with Compose answers; use: make up STACK=local")
    state = load_state(directory)
    env_file = ROOT / ".env"
    if names := ensure_secrets(env_file, environment):
        print(f"Wrote to .env, at random: {', '.join(names)}")
    values = read_environment(environment, env_file)
    stand_in = needs_stand_in(values)
    if stand_in:
        values |= stand_in_settings(STAND_IN_URL)
    # Saved first, so that `down` finds the containers of a failed start.
    state.kind = "docker"
    save_state(directory, state)
    profile = EVERY_PROFILE if stand_in else ()
    _compose(values, *profile, "up", "-d", "--build", "--wait", "--remove-orphans")
    gateway_url = f"http://{HOST}:{values.get('GATEWAY_PORT', '8000')}"
    admin_url = f"http://{HOST}:{values.get('ADMIN_PORT', '8001')}"
    state.demo_api_key = seed_demo(
        gateway_url=gateway_url,
        admin_url=admin_url,
        admin_api_key=values["ADMIN_API_KEY"],
        demo_api_key=state.demo_api_key,
    )
    save_state(directory, state)
    info = StackInfo(
        gateway_url=gateway_url,
        admin_url=admin_url,
        admin_api_key=values["ADMIN_API_KEY"],
        demo_api_key=state.demo_api_key,
        demo_user_id=DEMO_USER_ID,
        # Addresses within the containers' network: neither database is published to the host.
        mongo_uri=_mongo_uri(values),
        redis_url=_redis_url(values),
        provider_url=STAND_IN_URL if stand_in else "",
    )
    write_private(directory / "stack.env", info.as_env().encode())
    return info


def runs() -> bool:
    """Whether any of its containers does."""
    if not is_available():
        return False
    done = subprocess.run(
        ("docker", "compose", *EVERY_PROFILE, "ps", "--quiet"),
        cwd=ROOT,
        env=_with_any_secrets(),
        capture_output=True,
        check=False,
        timeout=ENGINE_TIMEOUT_S,
    )
    return bool(done.stdout.strip())


def down(*, with_data: bool) -> None:
    volumes = ("--volumes",) if with_data else ()
    _compose(_with_any_secrets(), *EVERY_PROFILE, "down", "--remove-orphans", *volumes)


def status() -> None:
    _compose(_with_any_secrets(), *EVERY_PROFILE, "ps")


def logs(service: str | None, *, follow: bool) -> None:
    arguments = ["logs", "--tail", "50", *(["--follow"] if follow else [])]
    _compose(_with_any_secrets(), *EVERY_PROFILE, *arguments, *([service] if service else []))


def ensure_secrets(env_file: Path, environment: Mapping[str, str]) -> list[str]:
    """Add a random value to `.env` for each unset secret. Returns the names of the added ones."""
    values = read_environment(environment, env_file)
    for name in PASSWORDS:
        if not _UNRESERVED.fullmatch(values.get(name, "unset")):
            raise StackError(f"{name} may have letters, digits and -._~ alone: it is part of a URL")
    missing = [name for name in SECRETS if not values.get(name)]
    if missing:
        text = env_file.read_text() if env_file.exists() else ""
        empty = tuple(f"{name}=" for name in missing)
        lines = [line for line in text.splitlines() if not line.startswith(empty)]
        lines += [f"{name}={_new_secret(name)}" for name in missing]
        write_private(env_file, ("\n".join(lines) + "\n").encode())
    return missing


def _new_secret(name: str) -> str:
    return new_admin_key() if name == "ADMIN_API_KEY" else secrets.token_urlsafe(24)


def _with_any_secrets() -> dict[str, str]:
    """Compose demands the secrets even for commands that do not use them."""
    placeholders = dict.fromkeys(SECRETS, "unused")
    return {**placeholders, **read_environment(os.environ, ROOT / ".env")}


def _mongo_uri(values: Mapping[str, str]) -> str:
    own = f"mongodb://gateway:{values['MONGO_GATEWAY_PASSWORD']}@mongo:27017/gateway?replicaSet=rs0"
    return values.get("MONGO_URI", own)


def _redis_url(values: Mapping[str, str]) -> str:
    own = f"redis://gateway:{values['REDIS_GATEWAY_PASSWORD']}@redis:6379/0"
    return values.get("REDIS_URL", own)


def _compose(environment: Mapping[str, str], *arguments: str) -> None:
    completed = subprocess.run(
        ("docker", "compose", *arguments), cwd=ROOT, env=dict(environment), check=False
    )
    if completed.returncode != 0:
        raise StackError(f"docker compose {' '.join(arguments)} ended with {completed.returncode}")
