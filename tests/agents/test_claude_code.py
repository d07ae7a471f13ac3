"""Claude Code in the terminal, on Anthropic's API and on what is translated to it."""

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Asked
from tests.agents.speech import Fault, Said, too_long

TARGETS = [
    pytest.param("anthropic/claude-sonnet-4-5", (), id="relayed"),
    pytest.param("anthropic/claude-sonnet-5", (), id="relayed-adaptive"),
    pytest.param("openai/gpt-5.4", ("responses",), id="responses"),
    pytest.param("openai/gpt-4.1", ("chat",), id="chat"),
    pytest.param(SERVER, ("chat",), id="server"),
]
on_every_target = pytest.mark.parametrize(("model", "formats"), TARGETS)


def tool_loop(asked: Asked) -> Said:
    """Two calls at once, then one that needs their results, then an end."""
    match len(asked.results):
        case 0:
            calls = (("Bash", {"command": "echo one"}), ("Bash", {"command": "echo two"}))
            return Said(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            command = f"printf '%s' '{' '.join(sorted(asked.results))}' > found"
            return Said(thinking="Now both.", calls=(("Bash", {"command": command}),))
        case _:
            return Said(thinking="Done.", text="All is written.")


@on_every_target
def test_two_turns_of_tools(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=not formats)

    ran = bench.claude_code(route, "Write what both say.")

    assert [asked.faults for asked in bench.asked()] == [[]] * 3, ran
    assert ran.code == 0, ran
    assert ran.lines[-1]["result"] == "All is written.", ran
    assert (bench.work / "found").read_text() == "one two"


@on_every_target
def test_a_session_goes_on(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=not formats)
    bench.claude_code(route, "Write what both say.")

    ran = bench.claude_code(route, "And now?", "--continue")

    assert [asked.faults for asked in bench.asked()] == [[]] * 4, ran
    assert ran.lines[-1]["result"] == "All is written.", ran
    before, after = (asked.body for asked in bench.asked()[2:])
    turns = "input" if "input" in before else "messages"
    assert len(after[turns]) > len(before[turns])


@on_every_target
def test_a_prompt_that_is_too_long_is_compacted(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    """After some turns, the model takes no more than a summary of them."""

    def script(asked: Asked) -> Said | Fault:
        said = asked.raw.decode()
        if "Your task is to create a detailed summary" in said:
            return Said(text="<summary>Both were looked at.</summary>")
        if "Both were looked at." in said:
            return Said(text="From the summary.")
        if "And now?" in said:
            return too_long(asked.api)
        return tool_loop(asked)

    route = bench.route(script, model, *formats, relayed=not formats)
    bench.claude_code(route, "Write what both say.")

    ran = bench.claude_code(route, "And now?", "--continue")

    assert ran.lines[-1]["result"] == "From the summary.", ran
    assert any(line.get("subtype") == "compact_boundary" for line in ran.lines), ran
    assert [fault for asked in bench.asked() for fault in asked.faults] == []


@on_every_target
def test_a_blocked_answer_is_called_so(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(lambda _: Said(blocked=True), model, *formats, relayed=not formats)

    ran = bench.claude_code(route, "Do what is not allowed.")

    assert ran.lines[-1]["is_error"], ran
    assert any(line.get("subtype") == "model_refusal_no_fallback" for line in ran.lines), ran
