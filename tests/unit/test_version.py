"""Each service tells its version before it reads a setting."""

import re
from pathlib import Path

import pytest

from gatewayctl.version import VERSION as COMMAND_LINE
from libs.common.version import VERSION, service_parser


def test_the_option_tells_the_version_and_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        service_parser("services.gateway").parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"litellm-gateway {VERSION}\n"


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        service_parser("services.gateway").parse_args(["--verson"])
    assert end.value.code == 2
    assert "python -m services.gateway: error: unrecognized arguments: --verson" in (
        capsys.readouterr().err
    )


def test_all_programs_have_the_projects_version() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    project = re.search(r'^version = "(.*)"$', text, re.MULTILINE)
    assert project is not None
    assert project[1] == COMMAND_LINE == VERSION
