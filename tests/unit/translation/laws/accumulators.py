"""What the providers' own SDKs put together from a stream, each event judged by its type."""

import json
from typing import Any

from openai import omit
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.sse import FrameSplitter
from tests.unit.translation.chat import streams as chat
from tests.unit.translation.messages import answers as messages
from tests.unit.translation.responses import streams as responses

_EVENT = TypeAdapter[Any](ResponseStreamEvent)


def put_together(client: ClientFormat, stream: bytes) -> dict[str, Any]:
    """The whole answer, as far as the SDK tells it."""
    splitter = FrameSplitter()
    splitter.feed(stream)
    assert splitter.rest() == b""
    if client == "chat":
        return _completion(stream)
    if client == "messages":
        return _without_tier(messages.accumulated(stream))
    return _response(stream)


def same(client: ClientFormat, body: bytes) -> dict[str, Any]:
    """A whole answer, in what a stream tells as well."""
    answer: dict[str, Any] = json.loads(body)
    if client == "messages":
        return _without_tier(answer)
    return _comparable(answer) if client == "chat" else answer


_CHAT_MEMBERS = ("id", "created", "model", "choices", "usage", "service_tier")


def _without_tier(message: dict[str, Any]) -> dict[str, Any]:
    """It is told at the end of a stream, where the SDK does not look for it."""
    usage = {name: value for name, value in message["usage"].items() if name != "service_tier"}
    return {"stop_details": None, **message, "usage": usage}


def _completion(stream: bytes) -> dict[str, Any]:
    state = ChatCompletionStreamState()
    tier = None
    for each in chat.chunks_of(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate(each, strict=True))
        tier = each.get("service_tier") or tier
    found = state.current_completion_snapshot.to_dict(mode="json", exclude_unset=True)
    return _comparable({**found, "service_tier": tier})


def _comparable(completion: dict[str, Any]) -> dict[str, Any]:
    members = {name: completion.get(name) for name in _CHAT_MEMBERS}
    return members | {"choices": [_choice(choice) for choice in completion["choices"]]}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    """Without the numbers and the parsed inputs that only streams have."""
    message = {
        name: value
        for name, value in choice["message"].items()
        if value is not None and name != "parsed"
    }
    for name in ("tool_calls", "thinking_blocks"):
        if name in message:
            message[name] = [
                {member: each[member] for member in each if member != "index"}
                for each in message[name]
            ]
    for call in message.get("tool_calls", ()):
        call.get("function", {}).pop("parsed_arguments", None)
    return {"message": message, "finish_reason": choice["finish_reason"]}


def _response(stream: bytes) -> dict[str, Any]:
    """The last event's, whose output the events before it have to make, too."""
    events = responses.events_of(stream)
    responses.judge(events)
    state = ResponseStreamState[Any](input_tools=omit, text_format=omit)
    for event in events[:-1]:
        state.handle_event(_EVENT.validate_python(event))
    last: dict[str, Any] = events[-1]["response"]
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert items == last["output"]
    snapshot = vars(state)["_ResponseStreamState__current_snapshot"]
    response = snapshot.to_dict(mode="json", exclude_unset=True, warnings=False)
    assert _deltas(response) == _deltas(last)
    return last


def _deltas(response: dict[str, Any]) -> list[Any]:
    """Texts and arguments, which alone the SDK puts together from deltas."""
    return [
        item.get("arguments") or [part.get("text") for part in item.get("content") or ()]
        for item in response["output"]
        if item["type"] in ("message", "function_call")
    ]
