"""What the provider of a translated call is sent, and when its connection is closed."""

from collections.abc import AsyncIterator

import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters.translator import Translator
from tests.service.gateway.translation_calls import (
    BODIES,
    CHAT_BODY,
    FORMATS,
    JSON_ANSWERS,
    MESSAGES_BODY,
    PIXEL,
    RESPONSES_BODY,
    SSE_ANSWERS,
    completed,
    streamed,
)
from tests.service.gateway.translation_wire import (
    Answer,
    TranslatedProvider,
    anthropic_sse,
    chat_sse,
    serving,
)


@pytest.fixture
async def provider() -> AsyncIterator[TranslatedProvider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    translator = Translator()
    yield translator
    await translator.close()


@pytest.mark.parametrize("client_format", ["chat", "responses"])
async def test_anthropic_is_sent_the_version_that_takes_sampling(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat
) -> None:
    await completed(translator, provider, client_format, "anthropic")
    path, headers, body = provider.requests[-1]
    assert path == "/v1/messages"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["x-api-key"] == "sk-secret"
    assert body["model"] == "claude-sonnet-4-5"
    assert body["temperature"] == 0.5
    assert body["max_tokens"] == 100
    assert body["system"][0]["text"] == "Be brief."
    assert body["tools"][0]["input_schema"]["required"] == ["city"]
    assert body["messages"][0]["content"][1]["source"]["data"] == PIXEL


async def test_openai_is_sent_a_chat_call_for_messages(
    translator: Translator, provider: TranslatedProvider
) -> None:
    provider.answer = SSE_ANSWERS["openai"]
    await streamed(translator, provider, "messages", "openai")
    path, headers, body = provider.requests[-1]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer sk-secret"
    assert body["stream_options"] == {"include_usage": True}
    assert body["stop"] == ["END"]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["messages"][1]["content"][1]["image_url"]["url"].endswith(PIXEL)
    assert body["tools"][0]["function"]["name"] == "weather"
    assert body["user"] == "u-1"


async def test_thinking_is_returned_to_anthropic_signed(
    translator: Translator, provider: TranslatedProvider
) -> None:
    first = await completed(translator, provider, "responses", "anthropic")
    turn = [
        *RESPONSES_BODY["input"],
        *first["output"],
        {"type": "function_call_output", "call_id": "toolu_1", "output": "rain"},
    ]
    body = {**RESPONSES_BODY, "input": turn, "reasoning": {"effort": "low"}, "temperature": None}
    await completed(translator, provider, "responses", "anthropic", body)
    blocks = provider.body["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": "Rain?", "signature": "signed"}
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert provider.body["messages"][2]["content"][0]["type"] == "tool_result"


async def test_thinking_of_a_chat_stream_is_returned_to_anthropic(
    translator: Translator, provider: TranslatedProvider
) -> None:
    block = {"index": 0, "type": "thinking", "thinking": "Rain?", "signature": "signed"}
    turn = [
        *CHAT_BODY["messages"],
        {"role": "assistant", "content": "Hello", "thinking_blocks": [block]},
        {"role": "user", "content": "Go on"},
    ]
    await completed(translator, provider, "chat", "anthropic", {**CHAT_BODY, "messages": turn})
    sent = provider.body["messages"][1]["content"][0]
    assert sent == {"type": "thinking", "thinking": "Rain?", "signature": "signed"}


async def test_tool_results_are_returned_to_openai(
    translator: Translator, provider: TranslatedProvider
) -> None:
    provider.answer = JSON_ANSWERS["openai"]
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "rain"}
    messages = [
        *MESSAGES_BODY["messages"],
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    body = {**MESSAGES_BODY, "messages": messages}
    await completed(translator, provider, "messages", "openai", body)
    call, answer = provider.body["messages"][-2:]
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"] == "call_1"
    assert answer["content"] == "rain"


async def test_the_stream_opens_before_the_first_token(
    translator: Translator, provider: TranslatedProvider
) -> None:
    provider.answer = Answer([], hang=True)
    frames = await translator.stream("chat", provider.target("anthropic"), CHAT_BODY)
    await frames.aclose()
    assert len(provider.requests) == 1


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize("client_format", FORMATS)
async def test_closing_the_stream_closes_the_providers_connection(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, name: str
) -> None:
    frames = anthropic_sse()[:9] if name == "anthropic" else chat_sse()[:3]
    provider.answer = Answer(frames, hang=True)
    stream = await translator.stream(client_format, provider.target(name), BODIES[client_format])
    await anext(stream)
    await stream.aclose()
    await provider.closed()
