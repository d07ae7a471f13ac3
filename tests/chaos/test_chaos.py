"""A short run of `make chaos`, and proof that its check can fail."""

import pytest

from tests.chaos.check import check, skip_an_increment
from tests.chaos.harms import Harms
from tests.chaos.run import REPLICAS, SETTINGS, run
from tests.e2e.conftest import NewStack

_SECONDS = 10.0


@pytest.mark.e2e
async def test_the_books_balance_whatever_is_killed(new_stack: NewStack) -> None:
    stack = new_stack(SETTINGS, gateways=REPLICAS, workers=REPLICAS)
    log_lines: list[str] = []
    harms = Harms(longest_pause_s=8.0)
    findings = await run(stack, seed=7, seconds=_SECONDS, say=log_lines.append, harms=harms)
    assert findings.faults == [], log_lines
    assert findings.served > 0
    for harm in ("kill -9", "pause", "fill"):
        assert any(harm in line for line in log_lines), log_lines

    skip_an_increment(stack)
    assert any(fault.startswith("verify") for fault in check(stack).faults)
