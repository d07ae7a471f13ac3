"""The SDKs' agents on a provider that speaks none of their formats: Gemini, through LiteLLM."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic, beta_async_tool
from openai import AsyncOpenAI

from tests.service.gateway.gemini_wire import NEW, answer, frames, piece
from tests.service.gateway.routes import add_route, deployment
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")
both_ways = pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])

SIGNATURE = "c2lnbmF0dXJl"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "weather", "description": "Of a city.", "parameters": PARAMETERS}
WEATHER = {"Oslo": "It rains in Oslo.", "Bergen": "It pours in Bergen."}
CALLS: list[dict[str, Any]] = [
    {
        "functionCall": {"name": "weather", "args": {"city": "Oslo"}},
        "thoughtSignature": SIGNATURE,
    },
    {"functionCall": {"name": "weather", "args": {"city": "Bergen"}}},
]
QUESTION = "How is the weather in Oslo and Bergen?"
ANSWER = "Take an umbrella."


class Gemini:
    """Calls the tool for both cities, and answers once it has both results."""

    def __init__(self) -> None:
        self.turns: list[list[dict[str, Any]]] = []

    async def __call__(self, request: UpstreamRequest, connection: UpstreamConnection) -> None:
        body = request.fields
        assert [f["name"] for t in body["tools"] for f in t["function_declarations"]] == ["weather"]
        self.turns.append(body["contents"])
        is_first = len(self.turns) == 1
        parts = CALLS if is_first else [{"text": "Take an "}, {"text": "umbrella."}]
        if "alt=sse" in request.path:
            pieces = [piece(part) for part in parts]
            await connection.stream(frames(*pieces, answer()))
        else:
            await connection.answer(json.dumps(answer(*parts)).encode())

    def check(self) -> None:
        """The second turn goes on from the first, with what Gemini gave and both results."""
        first, second = self.turns
        assert first == [{"role": "user", "parts": [{"text": QUESTION}]}]
        assert second[:1] == first
        call_turn, result_turn = second[1:]
        assert call_turn["role"] == "model"
        calls = [part for part in call_turn["parts"] if "function_call" in part]
        assert [part["function_call"]["args"] for part in calls] == [
            {"city": "Oslo"},
            {"city": "Bergen"},
        ]
        assert calls[0]["thoughtSignature"] == SIGNATURE
        results = [part["function_response"] for part in result_turn["parts"]]
        assert [result["name"] for result in results] == ["weather", "weather"]
        for result, expected in zip(results, WEATHER.values(), strict=True):
            assert expected in json.dumps(result["response"])


class Stage:
    def __init__(self, gateway: Client, route: str, secret: str, gemini: Gemini) -> None:
        url = str(gateway.http.base_url).rstrip("/")
        self.model = route
        self.secret = secret
        self.gemini = gemini
        self.openai = AsyncOpenAI(base_url=f"{url}/v1", api_key=secret, max_retries=0)
        self.anthropic = AsyncAnthropic(base_url=url, api_key=secret, max_retries=0)


@pytest_asyncio.fixture(loop_scope="module")
async def stage(gateway: Client, upstream: Upstream, books: Books) -> AsyncIterator[Stage]:
    gemini = Gemini()
    upstream.does(gemini)
    await books.set_price(NEW, input_usd="1", output_usd="1")
    route = await add_route(books, deployment(upstream, "a", NEW))
    stage = Stage(gateway, route, await books.add_key(), gemini)
    async with stage.openai, stage.anthropic:
        yield stage


async def check(stage: Stage, books: Books, text: str | None) -> None:
    assert text == ANSWER
    stage.gemini.check()
    events = await books.events(stage.secret)
    outcomes = [(event.status, event.usage_source) for event in events]
    # Anthropic's SDK asks for a thread first, and sends the history itself where there is none.
    assert [each for each in outcomes if each != ("refused", "none")] == [("ok", "provider")] * 2


@both_ways
async def test_chat(stage: Stage, books: Books, streams: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    while True:
        request: dict[str, Any] = {
            "model": stage.model,
            "messages": messages,
            "tools": [{"type": "function", "function": FUNCTION}],
        }
        if streams:
            async with stage.openai.chat.completions.stream(**request) as stream:
                completion: Any = await stream.get_final_completion()
        else:
            completion = await stage.openai.chat.completions.create(**request)
        message = completion.choices[0].message
        messages.append(message.to_dict(exclude_none=True))
        if not message.tool_calls:
            break
        assert completion.choices[0].finish_reason == "tool_calls"
        for call in message.tool_calls:
            city = json.loads(call.function.arguments)["city"]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": WEATHER[city]})
    await check(stage, books, message.content)


@both_ways
async def test_responses(stage: Stage, books: Books, streams: bool) -> None:
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    while True:
        request: dict[str, Any] = {
            "model": stage.model,
            "input": items,
            "tools": [{"type": "function", **FUNCTION}],
            "store": False,
        }
        if streams:
            async with stage.openai.responses.stream(**request) as stream:
                response: Any = await stream.get_final_response()
        else:
            response = await stage.openai.responses.create(**request)
        items += (
            item.model_dump(mode="json", exclude_none=True, exclude={"parsed_arguments"})
            for item in response.output
        )
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            break
        for call in calls:
            output = WEATHER[json.loads(call.arguments)["city"]]
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": output}
            )
    await check(stage, books, response.output_text)


@both_ways
async def test_messages(stage: Stage, books: Books, streams: bool) -> None:
    @beta_async_tool(name="weather", description="Of a city.", input_schema=PARAMETERS)
    async def weather(city: str) -> str:
        return WEATHER[city]

    request: dict[str, Any] = {
        "model": stage.model,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [weather],
    }
    message: Any = None
    if streams:
        async for turn in stage.anthropic.beta.messages.tool_runner(**request, stream=True):
            message = await turn.get_final_message()
    else:
        message = await stage.anthropic.beta.messages.tool_runner(**request).until_done()
    assert message.stop_reason == "end_turn"
    await check(stage, books, "".join(b.text for b in message.content if b.type == "text"))
