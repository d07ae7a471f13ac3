"""`docs/jobs.sh`: the operator's everyday jobs, each in one or two requests."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.stack import LocalStack

SCRIPT = Path(__file__).parents[2] / "docs/jobs.sh"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq shortens what the script prints")
def test_the_documented_jobs_can_be_done(stack: LocalStack) -> None:
    settings = dict(line.split("=", 1) for line in stack.info.as_env().splitlines())
    completed = subprocess.run(
        [str(SCRIPT)],
        check=False,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    jobs = re.split(r"^== \d+\. ", completed.stdout, flags=re.MULTILINE)[1:]
    assert len(jobs) == 12
    assert all(len(job.strip().splitlines()) > 1 for job in jobs), completed.stdout
    for number, text in (
        (3, "they read: 200\nthey write: 403"),
        (4, "the old secret: 200, the new one: 200"),
        (5, '"tags":["team:search"]'),
        (7, '"outlook":"'),
        (8, '"failed":'),
        (9, '"action":"create_cost"'),
        (12, "a call: 403"),
    ):
        assert text in jobs[number - 1]
