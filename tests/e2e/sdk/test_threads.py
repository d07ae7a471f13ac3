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
    calls: list[dict[str, Any]] = StackClient(url, "any").expect("GET", "/_stand-in/calls")["calls"]
    return calls


def test_the_tool_runner_continues_its_threads(
    stack: LocalStack, run_script: RunScript, new_key: NewKey
) -> None:
    key, url = new_key(), stack.gateway_urls[0]
    cases = [
        {"name": "whole", "url": url, "key": key, "model": MODEL, "stream": False},
        {"name": "stream", "url": url, "key": key, "model": MODEL, "stream": True},
        {"name": "translated", "url": url, "key": key, "model": TRANSLATED, "stream": False},
    ]

    runs = run_script("threads.py", cases)

    for name, run in runs.items():
        assert run["seen"] == ["Look at the sky."], name
        assert len(run["ids"]) == 2, name
        assert "[local stand-in]" in run["text"], name
    create = {"type": "create"}
    calls = {call["id"]: call for call in _calls(stack)}
    for name in ("whole", "stream"):
        first_id, last_id = runs[name]["ids"]
        goes_on = {"type": "continue", "previous_message_id": first_id}
        assert runs[name]["sent"] == [[create, 1], [goes_on, 1]]
        # That one carries the tool's result alone, and the provider has the rest.
        assert calls[last_id]["tokens"]["input_text"] > calls[first_id]["tokens"]["input_text"]
    # Nobody keeps what was translated: the runner learns that, and sends everything each time.
    assert runs["translated"]["sent"] == [[create, 1], [None, 1], [None, 3]]


def test_other_accounts_cannot_continue_a_thread(
    stack: LocalStack, run_script: RunScript, new_key: NewKey
) -> None:
    maker, stranger = new_key(), new_key()
    urls = stack.gateway_urls
    message_id = run_script(
        "threads.py", [{"name": "run", "url": urls[0], "key": maker, "model": MODEL}]
    )["run"]["ids"][-1]
    before = len(_calls(stack))

    case = {"url": urls[-1], "model": MODEL, "continues": message_id}
    errors = run_script(
        "threads.py",
        [
            {"name": "stranger", "key": stranger, **case},
            {"name": "maker", "key": maker, **case},
        ],
    )

    assert errors["stranger"] == {"class": "ThreadNotFoundError", "status": 404}
    assert errors["maker"] == {"class": None, "status": 200}
    assert len(_calls(stack)) == before + 1
