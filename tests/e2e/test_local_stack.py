"""The local stack itself: it comes up, survives crashes and a second start, and stops cleanly."""

import urllib.request
from collections.abc import Callable

import pytest

from deploy.local.client import StackClient
from deploy.local.demo import run_demo
from deploy.local.stack import LocalStack

NAMES = ["mongo", "redis", "provider", "ledger_worker", "admin", "gateway", "gateway-2"]


def pids(stack: LocalStack) -> dict[str, int | None]:
    return {name: stack.pid(name) for name in NAMES}


def test_a_stack_can_be_restarted_repeatedly(new_stack: Callable[..., LocalStack]) -> None:
    stack = new_stack(gateways=2)
    info = stack.info
    old_pids = pids(stack)
    assert None not in old_pids.values()
    for url in stack.gateway_urls:
        status, _ = StackClient(url, info.demo_api_key).call("GET", "/v1/models")
        assert status == 200
    stack_env = (stack.directory / "stack.env").read_text()
    assert stack_env == info.as_env()

    # A second start changes nothing.
    assert stack.start() == info
    assert pids(stack) == old_pids

    # What has crashed is started again, and nothing else.
    crashed = ("mongo", "redis", "ledger_worker", "gateway-2")
    for name in crashed:
        stack.kill(name)
        assert stack.pid(name) is None
    assert stack.start() == info
    new_pids = pids(stack)
    assert {name for name in NAMES if new_pids[name] != old_pids[name]} == set(crashed)

    # Each one goes by itself when asked, and a later start finds its data.
    assert stack.stop() == []
    assert set(pids(stack).values()) == {None}
    assert stack.start() == info


def test_the_tour_ends_with_the_proof(
    stack: LocalStack, capsys: pytest.CaptureFixture[str]
) -> None:
    run_demo(stack.info, "gpt-4.1-mini")
    output = capsys.readouterr().out
    assert "stand-in" in output
    assert output.rstrip().endswith("to the last digit")


def test_one_process_is_killed_and_restarted(stack: LocalStack) -> None:
    before = stack.pid("ledger_worker")
    stack.kill("ledger_worker")
    assert stack.pid("ledger_worker") is None
    stack.start_process("ledger_worker")
    assert stack.pid("ledger_worker") not in (None, before)
    stack.restart("gateway")
    with urllib.request.urlopen(f"{stack.url('gateway')}/ready", timeout=5) as response:
        assert response.status == 200
