"""Codex in the terminal, on OpenAI's Responses and on what is translated to it."""

import json
from typing import Any

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Request
from tests.agents.speech import Answer, Fault, too_long

TARGETS = [
    pytest.param("openai/gpt-5.4", (), id="relayed"),
    pytest.param("anthropic/claude-sonnet-4-5", (), id="messages"),
    pytest.param("anthropic/claude-sonnet-5", (), id="messages-adaptive"),
    pytest.param(SERVER, ("chat",), id="server"),
]
on_every_target = pytest.mark.parametrize(("model", "formats"), TARGETS)


def _command(request: Request, command: str) -> tuple[str, dict[str, Any]]:
    """In the tool that Codex offers for it to every model."""
    assert "exec_command" in request.tools, sorted(request.tools)
    return "exec_command", {"cmd": command}


def tool_loop(request: Request) -> Answer:
    """Two calls at once, then one that needs their results, then an end."""
    match len(request.results):
        case 0:
            calls = (_command(request, "echo one"), _command(request, "echo two"))
            return Answer(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            words = [word for word in ("one", "two") if word in "".join(request.results)]
            command = f"printf '%s' '{' '.join(words)}' > found"
            return Answer(thinking="Now both.", calls=(_command(request, command),))
        case _:
            return Answer(thinking="Done.", text="All is written.")


@on_every_target
def test_two_turns_of_tools(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=model.startswith("openai/"))

    output = bench.codex(route, "Write what both say.")

    assert [request.faults for request in bench.requests()] == [[]] * 3, output
    assert output.code == 0, output
    assert "All is written." in json.dumps(output.lines), output
    assert (bench.work / "found").read_text() == "one two"


@on_every_target
def test_a_prompt_that_is_too_long_is_named_so(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    def script(request: Request) -> Answer | Fault:
        return too_long(request.api)

    route = bench.route(script, model, *formats, relayed=model.startswith("openai/"))

    output = bench.codex(route, "Write what both say.")

    assert output.code != 0
    assert "context window" in json.dumps(output.lines), output
    # It asks once, and does not hope for better.
    assert len(bench.requests()) == 1


@on_every_target
def test_a_blocked_answer_is_not_a_normal_end(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    route = bench.route(
        lambda _: Answer(blocked=True), model, *formats, relayed=model.startswith("openai/")
    )

    output = bench.codex(route, "Do what is not allowed.")

    assert "content_filter" in json.dumps(output.lines), output
