from pathlib import Path

import pytest

from deploy.local.environment import (
    documented_names,
    needs_stand_in,
    read_environment,
    settings_of,
    without_settings,
)


def test_the_example_file_documents_what_users_set() -> None:
    required = {"MONGO_URI", "REDIS_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ADMIN_API_KEY"}
    assert required | {"GATEWAY_PORT", "ADMIN_PORT", "LOG_LEVEL"} <= documented_names()
    assert all(name == name.upper() for name in documented_names())


def test_the_environment_wins_over_the_file_and_empty_means_unset(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("LOG_LEVEL=debug\nGATEWAY_PORT=8010\nOPENAI_API_KEY=\n")
    environment = {"LOG_LEVEL": "error", "GATEWAY_PORT": "", "TERM": ""}
    assert read_environment(environment, env_file) == {
        "LOG_LEVEL": "error",
        "GATEWAY_PORT": "8010",
        "TERM": "",
    }


def test_a_missing_file_is_fine(tmp_path: Path) -> None:
    assert read_environment({"LOG_LEVEL": "error"}, tmp_path / ".env") == {"LOG_LEVEL": "error"}


def test_only_settings_are_kept_of_the_environment() -> None:
    environment = {"PATH": "/bin", "MONGO_URI": "m", "GROQ_API_KEY": "g", "OPENAI_BASE_URL": "u"}
    assert without_settings(environment) == {"PATH": "/bin"}
    assert settings_of(environment).keys() == {"MONGO_URI", "GROQ_API_KEY", "OPENAI_BASE_URL"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"ADMIN_API_KEY": "a"}, True),
        ({"OPENAI_API_KEY": "k"}, False),
        ({"ANTHROPIC_API_KEY": "k"}, False),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, False),
    ],
)
def test_a_stand_in_is_needed_without_any_provider(
    environment: dict[str, str], expected: bool
) -> None:
    assert needs_stand_in(environment) is expected
