"""The settings of a stack: the caller's environment over the file `.env`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]
PROVIDER_SETTINGS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL")


@cache
def documented_names() -> frozenset[str]:
    """The variables that the services read, from the file that lists them all."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = (line.lstrip("# ").partition("=")[0] for line in lines if "=" in line)
    return frozenset(name for name in names if name.isupper() and " " not in name)


def is_setting(name: str) -> bool:
    """Whether a variable configures a service, rather than the machine."""
    return name in documented_names() or name.endswith(("_API_KEY", "_BASE_URL"))


def settings_of(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if is_setting(name)}


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """For tests: the machine's environment, with nothing that would configure a service."""
    return {name: value for name, value in environment.items() if not is_setting(name)}


def read_environment(environment: Mapping[str, str], env_file: Path) -> dict[str, str]:
    """The set variables. An empty one counts as unset: a copied `.env.example` has empty ones."""
    from_file = {name: value for name, value in dotenv_values(env_file).items() if value}
    settings = {name: value for name, value in environment.items() if value or not is_setting(name)}
    return {**from_file, **settings}


def needs_stand_in(environment: Mapping[str, str]) -> bool:
    """Whether no provider is configured, so that the stack needs the stand-in."""
    return not any(environment.get(name) for name in PROVIDER_SETTINGS)
