"""A package that is hidden for a while is there for all that comes later."""

import os
import subprocess
import sys

from deploy.local.environment import without_settings

_GATEWAY = """
import sys
import services.gateway.__main__
print(sorted({"rich", "cryptography", "jwt", "litellm"} & sys.modules.keys()))
import jwt, rich
print("RS256" in jwt.algorithms.get_default_algorithms())
"""
# Without settings it ends once it has imported all that it works with.
_WORKER = """
import sys
from services.ledger_worker.__main__ import main
sys.argv = ["worker"]
try:
    main()
finally:
    print(sorted({"rich", "cryptography", "jwt", "litellm"} & sys.modules.keys()))
    print("services.ledger_worker.process" in sys.modules)
"""
_LOADED = """
import rich
from libs.common.hidden_packages import hidden
with hidden("rich"):
    import rich as again
print(again is rich)
"""


def _output(code: str) -> list[str]:
    command, environment = [sys.executable, "-c", code], without_settings(os.environ)
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return ran.stdout.splitlines()


def test_the_gateway_loads_no_package_that_it_does_not_use() -> None:
    loaded, signs = _output(_GATEWAY)
    assert loaded == "[]"
    assert signs == "True"


def test_the_worker_loads_no_package_that_it_does_not_use() -> None:
    assert _output(_WORKER) == ["[]", "True"]


def test_a_package_that_is_loaded_stays() -> None:
    assert _output(_LOADED) == ["True"]
