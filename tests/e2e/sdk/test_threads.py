"""Message threads on real processes: the tool runner's work, and nobody else reaches them."""

from typing import Any

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack
from tests.e2e.sdk.conftest import NewKey, RunScript

MODEL, TRANSLATED = "claude-haiku-4-5", "openai/gpt-4o-mini"


def _calls(stack: LocalStack) -> list[dict[str, Any]]:
    """What the provider was asked."""
    url = stack.info.provider_url
    assert url is not None
    found: list[dict[str, Any]] = StackClient(url, "any").expect("GET", "/_stand-in/calls")["calls"]
    return found


def test_the_tool_runner_continues_its_threads(
    stack: LocalStack, run_script: RunScript, new_key: NewKey
) -> None:
    key, url = new_key(), stack.gateway_urls[0]
    cases = [
        {"name": "whole", "url": url, "key": key, "model": MODEL, "stream": False},
        {"name": "stream", "url": url, "key": key, "model": MODEL, "stream": True},
        {"name": "translated", "url": url, "key": key, "model": TRANSLATED, "stream": False},
    ]

    ran = run_script("threads.py", cases)

    for name, run in ran.items():
        assert run["seen"] == ["Look at the sky."], name
        assert len(run["ids"]) == 2, name
        assert "[local stand-in]" in run["text"], name
    create = {"type": "create"}
    calls = {call["id"]: call for call in _calls(stack)}
    for name in ("whole", "stream"):
        begun, ended = ran[name]["ids"]
        goes_on = {"type": "continue", "previous_message_id": begun}
        assert ran[name]["sent"] == [[create, 1], [goes_on, 1]]
        # That one carries the tool's result alone, and the provider has the rest.
        assert calls[ended]["tokens"]["input_text"] > calls[begun]["tokens"]["input_text"]
    # Nobody keeps what was translated: the runner learns that, and sends everything each time.
    assert ran["translated"]["sent"] == [[create, 1], [None, 1], [None, 3]]


def test_other_accounts_cannot_continue_a_thread(
    stack: LocalStack, run_script: RunScript, new_key: NewKey
) -> None:
    maker, stranger = new_key(), new_key()
    urls = stack.gateway_urls
    made = run_script(
        "threads.py", [{"name": "run", "url": urls[0], "key": maker, "model": MODEL}]
    )["run"]["ids"][-1]
    before = len(_calls(stack))

    tried = {"url": urls[-1], "model": MODEL, "continues": made}
    raised = run_script(
        "threads.py",
        [
            {"name": "stranger", "key": stranger, **tried},
            {"name": "maker", "key": maker, **tried},
        ],
    )

    assert raised["stranger"] == {"class": "ThreadNotFoundError", "status": 404}
    assert raised["maker"] == {"class": None, "status": 200}
    assert len(_calls(stack)) == before + 1
