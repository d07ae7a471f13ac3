"""The same call in each client format, and the ways to make it."""

import json
from collections.abc import Mapping
from typing import Any

from libs.common.schemas.usage import ClientFormat
from services.gateway.upstream.adapters.translator import Translator
from tests.service.gateway.translation_wire import (
    ANTHROPIC_MESSAGE,
    CHAT_COMPLETION,
    Answer,
    TranslatedProvider,
    anthropic_sse,
    chat_sse,
)

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PIXEL = "iVBORw0KGgo="
CHAT_BODY: Mapping[str, Any] = {
    "model": "any",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ],
        },
    ],
    "max_tokens": 100,
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}],
}
MESSAGES_BODY: Mapping[str, Any] = {
    "model": "any",
    "system": "Be brief.",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Hi"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                },
            ],
        }
    ],
    "max_tokens": 100,
    "stop_sequences": ["END"],
    "tools": [{"name": "weather", "input_schema": WEATHER}],
    "metadata": {"user_id": "u-1"},
}
RESPONSES_BODY: Mapping[str, Any] = {
    "model": "any",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            ],
        }
    ],
    "max_output_tokens": 100,
    "temperature": 0.5,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "tools": [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}],
}
BODIES: Mapping[ClientFormat, Mapping[str, Any]] = {
    "chat": CHAT_BODY,
    "messages": MESSAGES_BODY,
    "responses": RESPONSES_BODY,
}
FORMATS: tuple[ClientFormat, ...] = ("chat", "messages", "responses")
JSON_ANSWERS = {"anthropic": Answer(ANTHROPIC_MESSAGE), "openai": Answer(CHAT_COMPLETION)}
SSE_ANSWERS = {"anthropic": Answer(anthropic_sse()), "openai": Answer(chat_sse())}


async def completed(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    body: Mapping[str, Any] | None = None,
) -> Any:
    payload = BODIES[client_format] if body is None else body
    return json.loads(await translator.complete(client_format, provider.target(name), payload))


async def streamed(
    translator: Translator,
    provider: TranslatedProvider,
    client_format: ClientFormat,
    name: str,
    body: Mapping[str, Any] | None = None,
) -> list[bytes]:
    payload = BODIES[client_format] if body is None else body
    frames = await translator.stream(client_format, provider.target(name), payload)
    return [frame async for frame in frames]
