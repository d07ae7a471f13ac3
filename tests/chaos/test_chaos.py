"""A short run of `make chaos`, and proof that its check can fail."""

import pytest

from tests.chaos.check import check, skip_an_increment
from tests.chaos.run import REPLICAS, SETTINGS, run
from tests.e2e.conftest import NewStack

_SECONDS = 12.0


@pytest.mark.e2e
async def test_the_books_balance_whatever_is_killed(new_stack: NewStack) -> None:
    stack = new_stack(SETTINGS, gateways=REPLICAS, workers=REPLICAS)
    said: list[str] = []
    findings = await run(stack, seed=7, seconds=_SECONDS, say=said.append)
    assert findings.faults == [], said
    assert findings.served > 0
    assert any("kill -9" in line for line in said)

    skip_an_increment(stack)
    assert any(fault.startswith("verify") for fault in check(stack).faults)
