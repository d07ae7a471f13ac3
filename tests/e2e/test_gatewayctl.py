"""gatewayctl against a running stack: on a terminal, in a pipe, and where it does not belong."""

import json
import os
import pty
import subprocess
import sys
from codecs import getincrementaldecoder
from collections.abc import Mapping
from pathlib import Path

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e.callers import Caller, new_caller
from tests.support.polling import PATIENCE_S, block_until

ROOT = Path(__file__).parents[2]


def environ_of(stack: LocalStack, **more: str) -> dict[str, str]:
    settings = {"GATEWAYCTL_URL": stack.info.admin_url, "GATEWAYCTL_KEY": stack.info.admin_api_key}
    return {**os.environ, **settings, "NO_COLOR": "1", "COLUMNS": "200", **more}


def piped(stack: LocalStack, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gatewayctl", *arguments]
    return subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env=environ_of(stack, **more),
        capture_output=True,
        text=True,
    )


def on_terminal(
    stack: LocalStack, *arguments: str, answers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit code, and what the terminal shows. `answers` are by the end of what is asked."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewayctl", *arguments],
        cwd=ROOT, env=environ_of(stack), stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    pending = dict(answers or {})
    screen, decoder = "", getincrementaldecoder("utf-8")()
    try:
        while piece := os.read(leader, 65536):
            screen += decoder.decode(piece)
            for prompt in [each for each in pending if screen.endswith(each)]:
                os.write(leader, f"{pending.pop(prompt)}\n".encode())
    except OSError:
        # The other side has ended.
        pass
    os.close(leader)
    return process.wait(), screen.replace("\r\n", "\n")


def called(stack: LocalStack, caller: Caller) -> None:
    message = {"role": "user", "content": "Hello"}
    body = {"model": "gpt-4.1-mini", "messages": [message]}
    StackClient(stack.gateway_urls[0], caller.secret).expect("POST", "/v1/chat/completions", body)


def test_a_call_is_seen_in_a_pipe_and_on_a_terminal(stack: LocalStack, tmp_path: Path) -> None:
    caller = new_caller(stack, "seen-by-gatewayctl", 5)
    called(stack, caller)
    block_until(lambda: len(caller.entries()) == 1, PATIENCE_S)
    tail = piped(stack, "usage", "tail", "--account", caller.user_id, "--count", "1")
    assert (tail.returncode, tail.stderr) == (0, "")
    entry = json.loads(tail.stdout)
    assert entry["user_id"] == caller.user_id

    code, screen = on_terminal(stack, "usage", "show", caller.user_id)
    header, line = screen.splitlines()
    assert code == 0
    assert header.split()[:3] == ["ENTRY", "ID", "STARTED"]
    assert line.startswith(entry["entry_id"])

    target = tmp_path / "entries.csv"
    arguments = ("usage", "export", "--account", caller.user_id, "-o", str(target))
    code, screen = on_terminal(stack, *arguments)
    assert code == 0
    assert f"{target}: {target.stat().st_size:,} bytes." in screen
    assert entry["entry_id"] in target.read_text()

    code, screen = on_terminal(stack, "usage", "summary", "--by", "account")
    assert code == 0
    assert "█" in screen
    proof = piped(stack, "ledger", "verify", "--account", caller.user_id, "--full")
    assert json.loads(proof.stdout)["ok"] is True


def test_a_key_is_revoked_once_the_question_is_answered(stack: LocalStack) -> None:
    caller = new_caller(stack, "revoked-by-gatewayctl", 5)
    code, screen = on_terminal(stack, "keys", "revoke", caller.key_id, answers={"[y/N] ": "n"})
    assert code == 2
    assert f"Revoke {caller.key_id}" in screen
    answers = {"The key's secret: ": caller.secret, "[y/N] ": "y"}
    code, screen = on_terminal(stack, "keys", "revoke", "-", answers=answers)
    assert code == 0
    assert caller.secret not in screen
    key = json.loads(piped(stack, "keys", "show", caller.key_id).stdout)
    assert key["status"] == "revoked"


def test_the_doctor_finds_every_service_and_every_provider(stack: LocalStack) -> None:
    caller = new_caller(stack, "examined-by-gatewayctl", 5)
    called(stack, caller)
    # The doctor asks the providers of posted calls.
    block_until(lambda: len(caller.entries()) == 1, PATIENCE_S)
    findings = [json.loads(line) for line in piped(stack, "doctor").stdout.splitlines()]
    checks = {(finding["area"], finding["check"]): finding["verdict"] for finding in findings}
    # Other tests make routes that lead nowhere.
    failed = [key for key, verdict in checks.items() if verdict == "fail" and key[0] != "providers"]
    assert failed == []
    # One place of it is asked, by a route or by a model, which other tests may have added, too.
    assert any(area == "providers" and check.startswith("openai/") for area, check in checks)
    assert {"gateway", "ledger_worker", "mongodb", "redis", "prices"} <= {a for a, _ in checks}
    assert checks["gateway", "answers"] == "ok"


def test_the_command_rejects_the_gateways_address(stack: LocalStack) -> None:
    completed = piped(stack, "accounts", "list", "--url", stack.info.gateway_url)
    assert (completed.returncode, completed.stdout) == (4, "")
    assert "is the gateway's address" in completed.stderr
    completed = piped(stack, "accounts", "list", GATEWAYCTL_KEY="a-wrong-key-for-tests")
    assert completed.returncode == 3
    assert "invalid_api_key" in completed.stderr
