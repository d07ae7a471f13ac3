"""The AI SDK in each of its formats, on each of the providers'."""

import pytest

from tests.agents.bench import SERVER, Bench
from tests.agents.provider import Request
from tests.agents.speech import Answer, Fault, too_long

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
SHOWS_THINKING = {
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


def tool_loop(request: Request) -> Answer:
    match len(request.results):
        case 0:
            cities = ("Oslo", "Bergen")
            calls = tuple(("look", {"city": city}) for city in cities)
            return Answer(thinking="Both at once.", text="I look.", calls=calls)
        case 2:
            return Answer(thinking="One more.", calls=(("look", {"city": "Voss"}),))
        case _:
            return Answer(thinking="Done.", text=" ".join(request.results))


@every_client
@every_target
@both_ways
def test_a_loop_of_tools(bench: Bench, client: str, target: str, stream: bool) -> None:
    model, formats = TARGETS[target]
    route = bench.route(tool_loop, model, *formats)
    call = {"format": client, "model": route, "stream": stream, "prompt": "How is the weather?"}

    output = bench.ai_sdk({**call, "options": THINKING[client]})

    (result,) = output.lines
    assert [request.faults for request in bench.requests()] == [[]] * 3, output
    assert result["looked"] == ["Oslo", "Bergen", "Voss"], output
    assert result["text"] == "Rain in Oslo. Rain in Bergen. Rain in Voss.", output
    assert result["finishReason"] == "stop"
    if (client, target) in SHOWS_THINKING:
        assert result["reasoning"] == ["Both at once.", "One more.", "Done."], output
    assert result["totalUsage"]["inputTokens"] == 3 * 1200
    assert result["totalUsage"]["outputTokens"] == 3 * 40


@every_client
@every_target
@both_ways
def test_a_prompt_that_is_too_long(bench: Bench, client: str, target: str, stream: bool) -> None:
    def script(request: Request) -> Answer | Fault:
        return too_long(request.api)

    model, formats = TARGETS[target]
    route = bench.route(script, model, *formats)

    output = bench.ai_sdk({"format": client, "model": route, "stream": stream, "prompt": "Hm?"})

    (result,) = output.lines
    assert (result["error"], result["statusCode"]) == ("AI_APICallError", 400), output
    marks = "prompt is too long" if client == "messages" else "context_length_exceeded"
    assert marks in result["responseBody"]


@every_client
@every_target
@both_ways
def test_a_blocked_answer(bench: Bench, client: str, target: str, stream: bool) -> None:
    model, formats = TARGETS[target]
    route = bench.route(lambda _: Answer(text="Hm.", blocked=True), model, *formats)

    output = bench.ai_sdk({"format": client, "model": route, "stream": stream, "prompt": "Hm?"})

    (result,) = output.lines
    assert result["finishReason"] == "content-filter", output
