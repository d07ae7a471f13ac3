"""Claude Code in the terminal, on Anthropic's API and on what is translated to it."""

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Request
from tests.agents.speech import Answer, Fault, too_long

TARGETS = [
    pytest.param("anthropic/claude-sonnet-4-5", (), id="relayed"),
    pytest.param("anthropic/claude-sonnet-5", (), id="relayed-adaptive"),
    pytest.param("openai/gpt-5.4", ("responses",), id="responses"),
    pytest.param("openai/gpt-4.1", ("chat",), id="chat"),
    pytest.param(SERVER, ("chat",), id="server"),
]
on_every_target = pytest.mark.parametrize(("model", "formats"), TARGETS)


def tool_loop(request: Request) -> Answer:
    """Two calls at once, then one that needs their results, then an end."""
    match len(request.results):
        case 0:
            calls = (("Bash", {"command": "echo one"}), ("Bash", {"command": "echo two"}))
            return Answer(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            command = f"printf '%s' '{' '.join(sorted(request.results))}' > found"
            return Answer(thinking="Now both.", calls=(("Bash", {"command": command}),))
        case _:
            return Answer(thinking="Done.", text="All is written.")


@on_every_target
def test_two_turns_of_tools(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=not formats)

    output = bench.claude_code(route, "Write what both say.")

    assert [request.faults for request in bench.requests()] == [[]] * 3, output
    assert output.code == 0, output
    assert output.lines[-1]["result"] == "All is written.", output
    assert (bench.work / "found").read_text() == "one two"


@on_every_target
def test_a_session_goes_on(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(tool_loop, model, *formats, relayed=not formats)
    bench.claude_code(route, "Write what both say.")

    output = bench.claude_code(route, "And now?", "--continue")

    assert [request.faults for request in bench.requests()] == [[]] * 4, output
    assert output.lines[-1]["result"] == "All is written.", output
    before, after = (request.body for request in bench.requests()[2:])
    turns = "input" if "input" in before else "messages"
    assert len(after[turns]) > len(before[turns])


@on_every_target
def test_a_prompt_that_is_too_long_is_compacted(
    bench: Bench, model: str, formats: tuple[str, ...]
) -> None:
    """After some turns, the model takes no more than a summary of them."""

    def script(request: Request) -> Answer | Fault:
        text = request.raw.decode()
        if "Your task is to create a detailed summary" in text:
            return Answer(text="<summary>Both were looked at.</summary>")
        if "Both were looked at." in text:
            return Answer(text="From the summary.")
        if "And now?" in text:
            return too_long(request.api)
        return tool_loop(request)

    route = bench.route(script, model, *formats, relayed=not formats)
    bench.claude_code(route, "Write what both say.")

    output = bench.claude_code(route, "And now?", "--continue")

    assert output.lines[-1]["result"] == "From the summary.", output
    assert any(line.get("subtype") == "compact_boundary" for line in output.lines), output
    assert [fault for request in bench.requests() for fault in request.faults] == []


@on_every_target
def test_a_blocked_answer_is_called_so(bench: Bench, model: str, formats: tuple[str, ...]) -> None:
    route = bench.route(lambda _: Answer(blocked=True), model, *formats, relayed=not formats)

    output = bench.claude_code(route, "Do what is not allowed.")

    assert output.lines[-1]["is_error"], output
    assert any(line.get("subtype") == "model_refusal_no_fallback" for line in output.lines), output
