"""A package that is hidden for a while is there for all that comes later."""

import subprocess
import sys

_GATEWAY = """
import sys
import services.gateway.__main__
print(sorted({"rich", "cryptography", "jwt", "litellm"} & sys.modules.keys()))
import jwt, rich
print("RS256" in jwt.algorithms.get_default_algorithms())
"""
_LOADED = """
import rich
from libs.common.hidden_packages import hidden
with hidden("rich"):
    import rich as again
print(again is rich)
"""


def _output(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_the_gateway_loads_no_package_that_it_does_not_use() -> None:
    loaded, signs = _output(_GATEWAY)
    assert loaded == "[]"
    assert signs == "True"


def test_a_package_that_is_loaded_stays() -> None:
    assert _output(_LOADED) == ["True"]
