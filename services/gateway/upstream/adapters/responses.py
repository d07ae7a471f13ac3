"""Makes a chat call of a Responses request, and a response of its answer.

LiteLLM translates the request. The answer is written here, for JSON and for streams by the same
events: what LiteLLM writes lacks events, numbers and the 1-hour share of cache writes.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from services.gateway.upstream.adapters.chat import CallNumbers, is_hosted, plain_data
from services.gateway.upstream.adapters.chat_stream import ChatStream
from services.gateway.upstream.adapters.library import Library
from services.gateway.upstream.adapters.response_events import ResponseEvents
from services.gateway.upstream.adapters.response_items import FlattenedTools
from services.gateway.upstream.adapters.target import TranslationTarget
from services.gateway.upstream.adapters.usage import responses_usage, served_tier

_INCOMPLETE: Mapping[str | None, str] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


# Said by the route, not by the request.
_ROUTED = ("custom_llm_provider", "extra_headers", "model", "stream", "stream_options")


def chat_request(
    library: Library, target: TranslationTarget, fields: Mapping[str, Any]
) -> dict[str, Any]:
    config = library.responses_config
    translated = config.transform_responses_api_request_to_chat_completion_request(
        model=f"{target.provider}/{target.model}",
        input=fields["input"],
        responses_api_request={name: fields[name] for name in fields if name != "input"},
        custom_llm_provider=target.provider,
        api_base=target.api_base,
    )
    return {name: value for name, value in translated.items() if name not in _ROUTED}


def flattened_tools(library: Library, fields: Mapping[str, Any]) -> FlattenedTools:
    tools = fields.get("tools", [])
    nested = [inner for tool in tools for inner in tool.get("tools") or ()]
    custom = frozenset(
        str(tool.get("name")) for tool in [*tools, *nested] if tool.get("type") == "custom"
    )
    namespaced = library.responses_config.namespace_tool_name_map(tools)
    return FlattenedTools(custom=custom, namespaced=namespaced)


def response(answer: Any, body: Mapping[str, Any], tools: FlattenedTools) -> bytes:
    usage = getattr(answer, "usage", None)
    events = ResponseEvents(body, tools, model=answer.model, created_at=answer.created)
    choice = answer.choices[0]
    _say(events, choice.message)
    for number, call in enumerate(getattr(choice.message, "tool_calls", None) or ()):
        if not is_hosted(call):
            events.call(number, call.id, call.function.name, call.function.arguments)
    events.finish(
        _INCOMPLETE.get(choice.finish_reason),
        responses_usage(usage),
        served_tier(answer, usage),
    )
    return events.response()


async def response_frames(
    stream: ChatStream, body: Mapping[str, Any], tools: FlattenedTools
) -> AsyncGenerator[bytes, None]:
    """Raises TranslationRefused where the provider's stream ended without a finish reason."""
    events: ResponseEvents | None = None
    numbers = CallNumbers()
    finish_reason: str | None = None
    async for chunk in stream:
        if events is None:
            events = ResponseEvents(body, tools, model=chunk.model, created_at=chunk.created)
        for choice in chunk.choices[:1]:
            _say(events, choice.delta)
            for call in getattr(choice.delta, "tool_calls", None) or ():
                number = numbers.number(call)
                if number is not None:
                    events.call(number, call.id, call.function.name, call.function.arguments)
            finish_reason = choice.finish_reason or finish_reason
        for frame in events.take():
            yield frame
    if events is not None:
        usage = responses_usage(stream.usage)
        events.finish(_INCOMPLETE.get(finish_reason), usage, stream.service_tier)
        for frame in events.take():
            yield frame


def _say(events: ResponseEvents, message: Any) -> None:
    """What a message or a delta holds beside its tool calls, in the order of a response."""
    events.think(
        getattr(message, "reasoning_content", None),
        plain_data(getattr(message, "thinking_blocks", None)),
    )
    fields = getattr(message, "provider_specific_fields", None)
    events.search(_calls(fields.get("web_search_calls")) if isinstance(fields, dict) else [])
    events.write(getattr(message, "content", None))
    events.refuse(getattr(message, "refusal", None))
    events.annotate(plain_data(getattr(message, "annotations", None)))


def _calls(calls: Any) -> list[Any]:
    """LiteLLM lists searches in a message and keys them by id in a stream."""
    listed = list(calls.values()) if isinstance(calls, dict) else calls
    searches: list[Any] = plain_data(listed) if isinstance(listed, list) else []
    return searches
