"""What a stack does around its processes; the end-to-end tests start a real one."""

import os
import socket
from pathlib import Path

import pytest

from deploy.local.cli import ANTHROPIC_MODEL, OPENAI_MODEL, demo_model
from deploy.local.environment import without_settings
from deploy.local.errors import StackError
from deploy.local.stack import LocalStack
from deploy.local.state import StackInfo, load_state, save_state

INFO = StackInfo(
    gateway_url="http://g",
    admin_url="http://a",
    admin_api_key="admin",
    demo_api_key="demo-key",
    demo_user_id="demo",
    mongo_uri="mongodb://m",
    redis_url="redis://r",
    provider_url="",
)


@pytest.mark.parametrize(
    ("taken", "free"), [("GATEWAY_PORT", "ADMIN_PORT"), ("ADMIN_PORT", "GATEWAY_PORT")]
)
def test_a_taken_port_is_reported_before_anything_starts(
    tmp_path: Path, taken: str, free: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        unused = other.getsockname()[1]
        other.close()
        environment = {**without_settings(os.environ), taken: str(port), free: str(unused)}
        stack = LocalStack(tmp_path, environment)
        with pytest.raises(StackError, match=f"port {port} is taken.* {taken}=") as caught:
            stack.start()
    assert "\n" not in str(caught.value)
    assert stack.supervisor.names() == []


def test_a_stack_that_was_not_started_has_no_addresses(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, {})
    with pytest.raises(StackError, match="not been started"):
        _ = stack.info
    assert stack.stop() == []


def test_the_admin_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    state.ports["mongo"] = 20_001
    save_state(tmp_path, state)
    again = load_state(tmp_path)
    assert again == state
    assert len(again.admin_api_key) > 40
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_stack_env_has_a_line_for_each_value() -> None:
    assert INFO.as_env().splitlines() == [
        "GATEWAY_URL=http://g",
        "ADMIN_URL=http://a",
        "ADMIN_API_KEY=admin",
        "DEMO_API_KEY=demo-key",
        "DEMO_USER_ID=demo",
        "MONGO_URI=mongodb://m",
        "REDIS_URL=redis://r",
        "PROVIDER_URL=",
    ]


@pytest.mark.parametrize(
    ("environment", "model"),
    [
        ({}, OPENAI_MODEL),
        ({"OPENAI_API_KEY": "o"}, OPENAI_MODEL),
        ({"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a"}, OPENAI_MODEL),
        ({"ANTHROPIC_API_KEY": "a"}, ANTHROPIC_MODEL),
        ({"ANTHROPIC_API_KEY": "a", "DEMO_MODEL": "mine"}, "mine"),
    ],
)
def test_the_demo_uses_a_model_of_a_configured_provider(
    environment: dict[str, str], model: str
) -> None:
    assert demo_model(environment) == model
