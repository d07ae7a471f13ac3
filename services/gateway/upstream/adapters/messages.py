"""Makes a chat call of a Messages request, and a message of its answer.

LiteLLM's adapter translates both ways; its public entry for this format is not used, because it
streams from some providers only with its proxy installed, sends OpenAI's models elsewhere than
other providers', drops reasoning tokens, and hides the stream that has to be closed.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec

from services.gateway.upstream.adapters.chat_stream import ChatStream
from services.gateway.upstream.adapters.library import Library
from services.gateway.upstream.adapters.target import TranslationTarget
from services.gateway.upstream.adapters.usage import messages_usage, served_tier

_encode = msgspec.json.Encoder().encode


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`names` leads from tool names that were too long for OpenAI back to the client's."""

    fields: dict[str, Any]
    names: dict[str, str]


def chat_request(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any]
) -> ChatRequest:
    model = f"{target.provider}/{target.model}"
    request = {**fields, "model": model}
    metadata = request.pop("metadata", None)
    if isinstance(metadata, dict) and metadata.get("user_id") is not None:
        # The other keys are where LiteLLM keeps its own notes.
        request["metadata"] = {"user_id": metadata["user_id"]}
    translate = library.anthropic_adapter.translate_completion_input_params_with_tool_mapping
    translated, names = translate(request, custom_llm_provider=target.provider)
    # `output_config` has become `response_format` and `reasoning_effort`, and the route says which
    # model it is.
    dropped = ("model", "output_config")
    chat_fields = {name: value for name, value in translated.items() if name not in dropped}
    effort = chat_fields.get("reasoning_effort")
    if isinstance(effort, dict):
        effort = effort.get("effort")
    if isinstance(effort, str):
        chat_fields["reasoning_effort"] = library.normalize_reasoning_effort(
            effort, model=model, custom_llm_provider=target.provider
        )
    return ChatRequest(fields=chat_fields, names=dict(names))


def message(library: Library, answer: Any, request: ChatRequest) -> bytes:
    translated = library.anthropic_adapter.translate_completion_output_params(
        answer, tool_name_mapping=request.names
    )
    body = {name: value for name, value in translated.items() if name != "stop_details" or value}
    identity = str(body.get("id", ""))
    if not identity.startswith("msg_"):
        body["id"] = f"msg_{identity.removeprefix('chatcmpl-')}"
    body["content"] = [_block(block) for block in body.get("content", ())]
    usage = getattr(answer, "usage", None)
    body["usage"] = messages_usage(usage, served_tier(answer, usage))
    return _encode(body)


async def message_frames(
    library: Library, stream: ChatStream, request: ChatRequest, target: TranslationTarget
) -> AsyncGenerator[bytes, None]:
    """Raises TranslationRefused where the provider's stream ended without a finish reason."""
    events = library.anthropic_stream(
        completion_stream=stream, model=target.model, tool_name_mapping=request.names
    )
    async for event in events:
        kind = event["type"]
        data = _message_delta(event, stream) if kind == "message_delta" else _without_text(event)
        yield b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(data))


def _message_delta(event: Mapping[str, Any], stream: ChatStream) -> Mapping[str, Any]:
    """It is held back until the chat stream has ended, so the usage is complete."""
    usage = messages_usage(stream.usage, stream.service_tier)
    return {**event, "delta": {"stop_sequence": None, **event["delta"]}, "usage": usage}


def _without_text(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """LiteLLM opens a block of thinking with its first words and then sends them again."""
    block = event.get("content_block")
    if block is None or block.get("type") != "thinking":
        return event
    return {**event, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}


def _block(block: Any) -> Any:
    """Thinking of another provider has no signature; the format wants a string."""
    if isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature"):
        return {**block, "signature": ""}
    return block
