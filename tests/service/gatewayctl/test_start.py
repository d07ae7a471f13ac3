"""`--help` and completion wait for nothing that they do not need."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What takes long to import, or is only for services.
LATE = ("asyncio", "email", "httpx", "jmespath", "libs", "motor", "msgspec", "rich", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["accounts", "list", "--help"]])
def test_help_imports_nothing_that_takes_long(arguments: list[str]) -> None:
    script = (
        "import sys; from gatewayctl.app import main; main(sys.argv[1:]);"
        f"print([name for name in {LATE!r} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, *arguments]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert completed.stderr.strip() == "[]"
    assert "Usage: gatewayctl" in completed.stdout
