"""Each image: what it holds, and that it starts and serves."""

import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.client import StackClient
from deploy.local.servers import stand_in_settings
from deploy.local.stack import LocalStack
from libs.common.version import VERSION
from tests.servers import HOST, free_port
from tests.support.polling import block_until

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "deploy/images/run.sh"
SBOM = ROOT / "deploy/images/sbom.py"
TAG = os.environ.get("TAG", "check")
MODULES = {"gateway": "gateway", "admin": "admin", "ledger-worker": "ledger_worker"}
START_LIMIT_S = 60.0
EVERY = pytest.mark.parametrize("name", MODULES)


def run(name: str, *command: str, stdin: str = "") -> str:
    image = f"litellm-gateway/{name}:{TAG}"
    completed = subprocess.run(
        (RUN, image, *command), input=stdin, capture_output=True, text=True, check=True
    )
    return completed.stdout


@contextlib.contextmanager
def serving(name: str, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Ends with its children: a shell and the builder stand between."""
    options = " ".join(f"--env {variable}={value}" for variable, value in settings.items())
    process = subprocess.Popen(
        (RUN, f"litellm-gateway/{name}:{TAG}", "python", "-m", f"services.{MODULES[name]}"),
        env={**os.environ, "RUN_OPTIONS": options},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def databases(stack: LocalStack) -> dict[str, str]:
    return {"MONGO_URI": stack.info.mongo_uri, "REDIS_URL": stack.info.redis_url}


@EVERY
def test_the_image_prints_its_version(name: str) -> None:
    command = ("python", "-m", f"services.{MODULES[name]}", "--version")
    assert run(name, *command) == f"litellm-gateway {VERSION}\n"


@EVERY
def test_imported_modules_are_compiled(name: str) -> None:
    program = (
        f"import services.{MODULES[name]}.__main__, sys, os, urllib.request; "
        "cached = {getattr(m, '__cached__', None) for m in sys.modules.values()} - {None}; "
        "print(len(cached) > 100, [path for path in cached if not os.path.exists(path)])"
    )
    assert run(name, "python", "-c", program) == "True []\n"


@EVERY
def test_nothing_in_it_installs_packages(name: str) -> None:
    program = (
        "import importlib.util as u, os, shutil; "
        "print([m for m in ('pip', 'setuptools', 'ensurepip', 'wheel') if u.find_spec(m)], "
        "shutil.which('pip'), os.getuid())"
    )
    assert run(name, "python", "-c", program) == "[] None 10001\n"


@EVERY
def test_the_sbom_lists_the_locked_packages(name: str) -> None:
    bom = json.loads(run(name, "python", "-", name, VERSION, stdin=SBOM.read_text()))
    found = {part["name"] for part in bom["components"] if part["purl"].startswith("pkg:pypi/")}
    lock = ROOT / f"requirements/{name.removeprefix('ledger-')}.txt"
    pins = re.findall(r"^([\w.-]+)(?:\[.*?\])?==[^ ]+( ;)?", lock.read_text(), re.MULTILINE)
    locked = {re.sub(r"[-_.]+", "-", pin).lower() for pin, _ in pins}
    elsewhere = {re.sub(r"[-_.]+", "-", pin).lower() for pin, marker in pins if marker}
    assert found <= locked
    assert locked - found <= elsewhere
    assert any(part["purl"].startswith("pkg:deb/") for part in bom["components"])


def test_the_proxys_pages_are_left_out() -> None:
    program = (
        "import importlib.util as u, pathlib; "
        "at = pathlib.Path(u.find_spec('litellm').submodule_search_locations[0]) / 'proxy'; "
        "print((at / '_experimental/out').exists(), (at / 'swagger').exists())"
    )
    assert run("gateway", "python", "-c", program) == "False False\n"


def test_a_gateway_serves_calls_of_both_kinds(stack: LocalStack) -> None:
    """Relayed and translated, and what they used is posted by a worker."""
    port = free_port()
    settings = {
        **databases(stack),
        **stand_in_settings(stack.info.provider_url),
        "GATEWAY_HOST": HOST,
        "GATEWAY_PORT": str(port),
    }
    with serving("gateway", settings):
        block_until(lambda: answers(f"http://{HOST}:{port}/ready"), START_LIMIT_S)
        client = StackClient(f"http://{HOST}:{port}", stack.info.demo_api_key)
        for model in ("openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"):
            call = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
            assert client.expect("POST", "/v1/chat/completions", call)["usage"]


def test_an_admin_service_answers(stack: LocalStack) -> None:
    port = free_port()
    settings = {
        **databases(stack),
        "ADMIN_API_KEY": stack.info.admin_api_key,
        "ADMIN_HOST": HOST,
        "ADMIN_PORT": str(port),
    }
    with serving("admin", settings):
        block_until(lambda: answers(f"http://{HOST}:{port}/ready"), START_LIMIT_S)
        admin = StackClient(f"http://{HOST}:{port}", stack.info.admin_api_key)
        assert admin.expect("GET", "/admin/accounts")["data"]


def test_a_worker_works(stack: LocalStack) -> None:
    port = free_port()
    settings = {
        **databases(stack),
        "WORKER_NAME": "of-the-image",
        "WORKER_METRICS_HOST": HOST,
        "WORKER_METRICS_PORT": str(port),
    }
    with serving("ledger-worker", settings):
        block_until(lambda: answers(f"http://{HOST}:{port}/metrics"), START_LIMIT_S)
