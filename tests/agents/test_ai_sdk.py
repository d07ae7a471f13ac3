"""The AI SDK in each of its formats, on each of the providers'."""

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Asked
from tests.agents.speech import Fault, Said, too_long

TARGETS = {
    "messages": ("anthropic/claude-sonnet-4-5", ()),
    "messages-adaptive": ("anthropic/claude-sonnet-5", ()),
    "responses": ("openai/gpt-5.4", ("responses",)),
    "chat": ("openai/gpt-4.1", ("chat",)),
    "server": (SERVER, ("chat",)),
}
# The SDK knows the models that reason by OpenAI's names for them.
EFFORT = {"reasoningEffort": "high", "forceReasoning": True}
THINKING = {
    "messages": {"anthropic": {"thinking": {"type": "enabled", "budgetTokens": 2048}}},
    "responses": {"openai": {"store": False, "reasoningSummary": "auto", **EFFORT}},
    "chat": {"openai": EFFORT},
}
# The pairs in which thinking is asked for, and reaches a client that reads it: of items it
# reads the summary alone, and what a server thinks is not a summary.
TOLD = {
    ("messages", "messages"),
    ("messages", "messages-adaptive"),
    ("messages", "responses"),
    ("messages", "server"),
    ("responses", "responses"),
    ("responses", "messages-adaptive"),
}
every_client = pytest.mark.parametrize("client", ["chat", "responses", "messages"])
every_target = pytest.mark.parametrize("target", TARGETS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def tool_loop(asked: Asked) -> Said:
    match len(asked.results):
        case 0:
            cities = ("Oslo", "Bergen")
            calls = tuple(("look", {"city": city}) for city in cities)
            return Said(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            return Said(thinking="One more.", calls=(("look", {"city": "Voss"}),))
        case _:
            return Said(thinking="Done.", text=" ".join(asked.results))


@every_client
@every_target
@both_ways
def test_a_loop_of_tools(bench: Bench, client: str, target: str, stream: bool) -> None:
    model, formats = TARGETS[target]
    route = bench.route(tool_loop, model, *formats)
    asked = {"format": client, "model": route, "stream": stream, "prompt": "How is the weather?"}

    ran = bench.ai_sdk({**asked, "options": THINKING[client]})

    (got,) = ran.lines
    assert [each.faults for each in bench.asked()] == [[]] * 3, ran
    assert got["looked"] == ["Oslo", "Bergen", "Voss"], ran
    assert got["text"] == "Rain in Oslo. Rain in Bergen. Rain in Voss.", ran
    assert got["finishReason"] == "stop"
    if (client, target) in TOLD:
        assert got["reasoning"] == ["Both at once.", "One more.", "Done."], ran
    assert got["totalUsage"]["inputTokens"] == 3 * 1200
    assert got["totalUsage"]["outputTokens"] == 3 * 40


@every_client
@every_target
@both_ways
def test_a_prompt_that_is_too_long(bench: Bench, client: str, target: str, stream: bool) -> None:
    def script(asked: Asked) -> Said | Fault:
        return too_long(asked.api)

    model, formats = TARGETS[target]
    route = bench.route(script, model, *formats)

    ran = bench.ai_sdk({"format": client, "model": route, "stream": stream, "prompt": "Hm?"})

    (got,) = ran.lines
    assert (got["error"], got["statusCode"]) == ("AI_APICallError", 400), ran
    marks = "prompt is too long" if client == "messages" else "context_length_exceeded"
    assert marks in got["responseBody"]


@every_client
@every_target
@both_ways
def test_a_blocked_answer(bench: Bench, client: str, target: str, stream: bool) -> None:
    model, formats = TARGETS[target]
    route = bench.route(lambda _: Said(text="Hm.", blocked=True), model, *formats)

    ran = bench.ai_sdk({"format": client, "model": route, "stream": stream, "prompt": "Hm?"})

    (got,) = ran.lines
    assert got["finishReason"] == "content-filter", ran
