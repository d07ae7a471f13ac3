"""What a translated call is refused with: by the provider, by its connection, by its fields."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters.target import TranslationRefused, TranslationTarget
from services.gateway.upstream.adapters.translator import LibraryStream, Translator
from tests.service.gateway.translation_wire import (
    ANTHROPIC_MESSAGE,
    CHAT_COMPLETION,
    Answer,
    TranslatedProvider,
    anthropic_sse,
    chat_sse,
    serving,
)

MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES: Mapping[ClientFormat, Mapping[str, Any]] = {
    "chat": {"messages": MESSAGES},
    "messages": {"messages": MESSAGES, "max_tokens": 10},
    "responses": {"input": "Hi"},
}
PAIRS: tuple[tuple[ClientFormat, str], ...] = (
    ("chat", "anthropic"),
    ("responses", "anthropic"),
    ("messages", "openai"),
)
ERRORS: Mapping[str, Mapping[str, Any]] = {
    "anthropic": {
        "type": "error",
        "error": {"type": "some_error", "message": "No — says sk-secret's owner."},
        "request_id": "req_1",
    },
    "openai": {
        "error": {
            "message": "No — says sk-secret's owner.",
            "type": "some_type",
            "param": None,
            "code": "some_error",
        }
    },
}


@pytest.fixture
async def provider() -> AsyncIterator[TranslatedProvider]:
    async with serving() as provider:
        yield provider


@pytest.fixture
async def translator() -> AsyncIterator[Translator]:
    translator = Translator()
    yield translator
    await translator.close()


async def call(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    *,
    is_stream: bool,
    timeout_s: float = 10,
) -> list[bytes]:
    target, body = provider.target(name, timeout_s=timeout_s), BODIES[client_format]
    if not is_stream:
        return [await translator.complete(client_format, target, body)]
    return [frame async for frame in await translator.stream(client_format, target, body)]


async def drain(stream: LibraryStream) -> tuple[bytes, TranslationRefused | None]:
    received = b""
    try:
        async for frame in stream:
            received += frame
    except TranslationRefused as refused:
        return received, refused
    return received, None


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_the_providers_status_and_words_are_kept(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    status: int,
    is_stream: bool,
) -> None:
    provider.answer = Answer(ERRORS[name], status=status, headers={"retry-after": "7"})
    method = translator.stream if is_stream else translator.complete
    with pytest.raises(TranslationRefused) as refused:
        await method(client_format, provider.target(name), BODIES[client_format])
    assert refused.value.status == status
    assert refused.value.message == "No — says [key]'s owner."
    assert refused.value.code == "some_error"
    assert refused.value.retry_after == "7"
    assert len(provider.requests) == 1


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_a_page_of_html_is_not_passed_on(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    is_stream: bool,
) -> None:
    for status in (502, 200):
        provider.answer = Answer("<html>a proxy</html>", status=status)
        with pytest.raises(TranslationRefused) as refused:
            await call(translator, provider, client_format, name, is_stream=is_stream)
        assert refused.value.status == 502
        assert "html" not in refused.value.message


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_an_unreachable_provider(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    is_stream: bool,
) -> None:
    provider.url = "http://127.0.0.1:9"
    with pytest.raises(TranslationRefused) as refused:
        await call(translator, provider, client_format, name, is_stream=is_stream)
    assert refused.value.status == 502
    assert refused.value.code == "upstream_unavailable"
    assert "127.0.0.1" not in refused.value.message


@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_a_provider_that_times_out_is_a_504(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, name: str
) -> None:
    frames = anthropic_sse()[:4] if name == "anthropic" else chat_sse()[:2]
    provider.answer = Answer(frames, hang=True)
    with pytest.raises(TranslationRefused) as refused:
        await call(translator, provider, client_format, name, is_stream=True, timeout_s=0.3)
    assert refused.value.status == 504
    await provider.closed()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_a_stream_that_ends_early_is_an_error(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    cut: bool,
) -> None:
    frames = anthropic_sse()[:9] if name == "anthropic" else chat_sse()[:3]
    provider.answer = Answer(frames, cut=cut)
    target = provider.target(name)
    stream = await translator.stream(client_format, target, BODIES[client_format])
    received, refused = await drain(stream)
    assert refused is not None
    assert refused.status == 502
    assert b"Hel" in received
    for terminal in (b"[DONE]", b"message_stop", b"response.completed", b'"stop"', b"end_turn"):
        assert terminal not in received


@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_an_error_in_mid_stream_is_passed_on(
    translator: Translator, provider: TranslatedProvider, client_format: ClientFormat, name: str
) -> None:
    if name == "anthropic":
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        frames = [*anthropic_sse()[:9], *anthropic_sse([error])]
    else:
        frames = [*chat_sse()[:3], *chat_sse([{"error": {"message": "Overloaded"}}], done=False)]
    provider.answer = Answer(frames)
    target = provider.target(name)
    stream = await translator.stream(client_format, target, BODIES[client_format])
    received, refused = await drain(stream)
    assert b"Hel" in received
    assert refused is not None
    assert refused.status >= 500
    assert refused.message == "Overloaded"


# --- fields ---

CONTROL = (
    "api_base",
    "api_key",
    "base_url",
    "callbacks",
    "custom_llm_provider",
    "extra_body",
    "extra_headers",
    "fallbacks",
    "headers",
    "litellm_params",
    "mock_response",
    "organization",
    "timeout",
    "_skip_mcp_handler",
)


@pytest.mark.parametrize("field", CONTROL)
@pytest.mark.parametrize(("client_format", "name"), PAIRS)
async def test_litellms_own_parameters_are_closed_to_clients(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    field: str,
) -> None:
    body = {**BODIES[client_format], field: "https://elsewhere.example"}
    for method in (translator.complete, translator.stream):
        with pytest.raises(TranslationRefused, match=field) as refused:
            await method(client_format, provider.target(name), body)
        assert refused.value.status == 400
    assert provider.requests == []


@pytest.mark.parametrize(
    ("client_format", "changed", "named"),
    [
        ("chat", {"messages": None}, "messages"),
        ("chat", {"messages": "Hi"}, "messages"),
        ("chat", {"messages": [{"content": "Hi"}]}, r"messages\[0\]"),
        ("chat", {"messages": [{"role": "user", "content": 7}]}, r"messages\[0\].content"),
        ("chat", {"tools": [{"type": "mcp", "server_url": "litellm_proxy"}]}, r"tools\[0\]: mcp"),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "x"}]}]}, "Invalid user"),
        ("chat", {"tools": {}}, "tools"),
        ("chat", {"seed": 7}, "seed"),
        ("chat", {"frequency_penalty": 0.5}, "frequency_penalty"),
        ("messages", {"max_tokens": None}, "max_tokens"),
        ("messages", {"container": "c"}, "container"),
        ("messages", {"tools": [{"type": "advisor_20260301"}]}, "advisor"),
        ("messages", {"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash"),
        (
            "messages",
            {"context_management": {"edits": [{"type": "compact_20260112"}]}},
            "compact_20260112",
        ),
        ("responses", {"input": None}, "input"),
        ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("responses", {"background": True}, "background"),
        ("responses", {"input": [{"type": "item_reference", "id": "rs_1"}]}, "item_reference"),
        ("responses", {"tools": [{"type": "code_interpreter"}]}, "code_interpreter"),
    ],
)
async def test_untranslatable_parameters_are_named(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    changed: Mapping[str, Any],
    named: str,
) -> None:
    name = "openai" if client_format == "messages" else "anthropic"
    body = {**BODIES[client_format], **changed}
    with pytest.raises(TranslationRefused, match=named) as refused:
        await translator.complete(client_format, provider.target(name), body)
    assert refused.value.status == 400
    assert "litellm" not in refused.value.message.lower()
    assert provider.requests == []


@pytest.mark.parametrize(
    ("client_format", "added"),
    [
        (
            "chat",
            {
                "model": "x",
                "stream": False,
                "store": True,
                "metadata": {"a": "b"},
                "n": 1,
                "frequency_penalty": 0.0,
                "logprobs": False,
                "service_tier": "auto",
                "prompt_cache_key": "k",
                "parallel_tool_calls": True,
                "stream_options": {"include_usage": True},
                "api_key": None,
                "tools": [],
                "user": "u",
            },
        ),
        (
            "messages",
            {
                "model": "x",
                "stream": False,
                "cache_control": {"type": "ephemeral"},
                "service_tier": "auto",
                "metadata": {"user_id": "u", "user_api_key": "x"},
                "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
                "mcp_servers": [],
            },
        ),
        (
            "responses",
            {
                "model": "x",
                "stream": True,
                "store": False,
                "include": ["reasoning.encrypted_content"],
                "prompt_cache_key": "k",
                "client_metadata": {"a": "b"},
                "truncation": "disabled",
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
            },
        ),
    ],
)
async def test_hints_and_defaults_are_accepted(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    added: Mapping[str, Any],
) -> None:
    name = "openai" if client_format == "messages" else "anthropic"
    provider.answer = Answer(CHAT_COMPLETION if name == "openai" else ANTHROPIC_MESSAGE)
    body = {**BODIES[client_format], **added}
    await translator.complete(client_format, provider.target(name), body)
    known = {"model", "messages", "max_tokens", "metadata", "user", "tool_choice"}
    assert set(provider.body) <= known
    assert "user_api_key" not in str(provider.body)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("gemini", "GEMINI_API_KEY"),
        ("perplexity", "PERPLEXITY_API_KEY"),
        ("fireworks_ai", "FIREWORKS_API_KEY"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_provider_without_a_key_is_not_called(
    translator: Translator, name: str, variable: str, is_stream: bool
) -> None:
    target = TranslationTarget(
        provider=name, model="a-model", api_base=None, api_key=None, timeout_s=10
    )
    method = translator.stream if is_stream else translator.complete
    with pytest.raises(TranslationRefused) as refused:
        await method("chat", target, BODIES["chat"])
    assert (refused.value.status, refused.value.code) == (503, "provider_not_configured")
    expected = f"The gateway has no key for provider '{name}': set {variable}."
    assert refused.value.message == expected


async def test_images_are_not_fetched_for_the_client(
    translator: Translator, provider: TranslatedProvider
) -> None:
    """Gemini takes no URLs, and LiteLLM would fetch the image from inside our network."""
    image = {"type": "image_url", "image_url": {"url": f"{provider.url}/internal.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    with pytest.raises(TranslationRefused, match="data: URL") as refused:
        await translator.complete("chat", provider.target("gemini"), body)
    assert refused.value.status == 400
    assert all(path != "/internal.png" for path, _, _ in provider.requests)


async def test_many_first_calls_share_one_import(
    translator: Translator, provider: TranslatedProvider
) -> None:
    target = provider.target("anthropic")
    calls = (translator.complete("chat", target, BODIES["chat"]) for _ in range(8))
    answers = await asyncio.gather(*calls)
    assert len(answers) == len(provider.requests) == 8


def test_a_target_does_not_show_its_key() -> None:
    target = TranslatedProvider().target("openai")
    assert "sk-secret" not in repr(target)
    assert "sk-secret" not in str(target)


@pytest.mark.parametrize(
    ("client_format", "fields", "named"),
    [
        ("chat", {"response_format": {"type": "json_object"}}, "response_format"),
        ("responses", {"text": {"format": {"type": "json_object"}}}, "text.format"),
        ("responses", {"text": {"verbosity": "low"}}, "text.verbosity"),
    ],
)
async def test_parameters_litellm_would_drop_silently_are_rejected(
    provider: TranslatedProvider,
    translator: Translator,
    client_format: ClientFormat,
    fields: Mapping[str, Any],
    named: str,
) -> None:
    with pytest.raises(TranslationRefused) as refused:
        await translator.complete(
            client_format, provider.target("anthropic"), {**BODIES[client_format], **fields}
        )
    assert refused.value.status == 400
    assert refused.value.message.startswith(named)
    assert provider.requests == []
