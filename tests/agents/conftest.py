"""Real agents and SDKs of other languages, from npm, on a local stack and a scripted provider.

`make test-agents` runs these tests; without TEST_AGENTS there are none. AGENTS_DIR keeps what npm
installs between runs; else it goes to a directory that ends with the run.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Provider

HERE = Path(__file__).parent
_INSTALL_S = 600

collect_ignore_glob = [] if "TEST_AGENTS" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def modules() -> Iterator[Path]:
    """The `node_modules` of the versions that package-lock.json pins."""
    with tempfile.TemporaryDirectory(prefix="agents-") as scratch:
        directory = Path(os.environ.get("AGENTS_DIR", scratch))
        directory.mkdir(parents=True, exist_ok=True)
        lock = directory / "package-lock.json"
        pinned = (HERE / "package-lock.json").read_bytes()
        if not lock.exists() or lock.read_bytes() != pinned:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, directory)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=directory, check=True, timeout=_INSTALL_S)
        yield directory / "node_modules"


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with Provider().serving() as provider:
        yield provider


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[LocalStack]:
    keys = {f"{name}_API_KEY": "scripted" for name in ("OPENAI", "ANTHROPIC")}
    # Nothing plays there: only the routes of the tests lead anywhere.
    urls = {f"{name}_BASE_URL": f"{provider.url}/nobody" for name in ("OPENAI", "ANTHROPIC")}
    environ = {**without_settings(os.environ), **keys, **urls}
    stack = LocalStack(tmp_path_factory.mktemp("stack"), environ, free_ports=True)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def key(stack: LocalStack) -> str:
    admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
    admin.expect("POST", "/admin/accounts", {"user_id": "agents"})
    free = {"input_cost_per_million": 0, "output_cost_per_million": 0}
    admin.expect("POST", "/admin/costs", {"model": SERVER, **free})
    answer: dict[str, Any] = admin.expect("POST", "/admin/keys", {"user_id": "agents"})
    return str(answer["api_key"])


@pytest.fixture
def bench(stack: LocalStack, provider: Provider, modules: Path, key: str, tmp_path: Path) -> Bench:
    return Bench(stack=stack, provider=provider, modules=modules, key=key, directory=tmp_path)
