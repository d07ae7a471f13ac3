"""Codex in the terminal, on OpenAI's Responses and on what is translated to it."""

import json
from typing import Any

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Asked
from tests.agents.speech import Fault, Said, too_long

TARGETS = [
    pytest.param("openai/gpt-5.4", (), id="relayed"),
    pytest.param("anthropic/claude-sonnet-4-5", (), id="messages"),
    pytest.param("anthropic/claude-sonnet-5", (), id="messages-adaptive"),
    pytest.param(SERVER, ("chat",), id="server"),
]
on_every_target = pytest.mark.parametrize(("model", "formats"), TARGETS)


def _command(asked: Asked, command: str) -> tuple[str, dict[str, Any]]:
    """In the tool that Codex offers for it to every model."""
    assert "exec_command" in asked.tools, sorted(asked.tools)
    return "exec_command", {"cmd": command}


def tool_loop(asked: Asked) -> Said:
    """Two calls at once, then one that needs their results, then an end."""
    match len(asked.results):
        case 0:
            calls = (_command(asked, "echo one"), _command(asked, "echo two"))
            return Said(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            found = [word for word in ("one", "two") if word in "".join(asked.results)]
            command = f"printf '%s' '{' '.join(found)}' > found"
            return Said(thinking="Now both.", calls=(_command(asked, command),))
        case _:
            return Said(thinking="Done.", text="All is written.")


@on_every_target
def test_two_turns_of_tools(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=model.startswith("openai/"))

    ran = bench.codex(route, "Write what both say.")

    assert [asked.faults for asked in bench.asked()] == [[]] * 3, ran
    assert ran.code == 0, ran
    assert "All is written." in json.dumps(ran.lines), ran
    assert (bench.work / "found").read_text() == "one two"


@on_every_target
def test_a_prompt_that_is_too_long_is_named_so(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    def script(asked: Asked) -> Said | Fault:
        return too_long(asked.api)

    route = bench.route(script, model, *formats, relayed=model.startswith("openai/"))

    ran = bench.codex(route, "Write what both say.")

    assert ran.code != 0
    assert "context window" in json.dumps(ran.lines), ran
    # It asks once, and does not hope for better.
    assert len(bench.asked()) == 1


@on_every_target
def test_a_blocked_answer_is_not_a_normal_end(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    route = bench.route(
        lambda _: Said(blocked=True), model, *formats, relayed=model.startswith("openai/")
    )

    ran = bench.codex(route, "Do what is not allowed.")

    assert "content_filter" in json.dumps(ran.lines), ran
