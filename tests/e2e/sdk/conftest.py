"""Each script that calls the SDKs is a process of its own, as a user's is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack

HERE = Path(__file__).parent
_PATIENCE_S = 180

RunScript = Callable[[str, Any], Any]
NewKey = Callable[..., str]


@pytest.fixture(scope="session")
def run_script() -> RunScript:
    """Runs a script of this directory with that input, and returns what it wrote."""
    environ = {
        name: value
        for name, value in without_settings(os.environ).items()
        # A proxy has no business with this machine's own addresses.
        if not name.lower().endswith("_proxy")
    }

    def run(script: str, payload: Any) -> Any:
        completed = subprocess.run(
            [sys.executable, HERE / script],
            input=json.dumps(payload),
            env=environ,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
        return json.loads(completed.stdout)

    return run


@pytest.fixture(scope="session")
def new_key(stack: LocalStack) -> NewKey:
    """Makes an account with those fields and a key for it."""
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    numbers = iter(range(1_000))

    def make(account: Mapping[str, Any] | None = None, **key: Any) -> str:
        user_id = f"sdk-{next(numbers)}"
        admin.expect("POST", "/admin/accounts", {"user_id": user_id, **(account or {})})
        answer = admin.expect("POST", "/admin/keys", {"user_id": user_id, **key})
        return str(answer["api_key"])

    return make
