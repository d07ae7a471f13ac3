"""Bodies of each format around one thing: a field, a turn, a part, an item or a tool."""

from collections.abc import Callable, Iterator
from typing import Any

from anthropic.types.beta import BetaContentBlockParam, BetaToolUnionParam
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming
from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionMessageParam,
    ChatCompletionToolUnionParam,
)
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from openai.types.responses import ResponseInputItemParam, ToolParam
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from openai.types.responses.response_input_message_content_list_param import (
    ResponseInputContentParam,
)
from typing_extensions import get_type_hints

from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.variants import ABSENT, Variant, kinds, variants

Body = dict[str, Any]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}}
TOOL = {"name": "f", "input_schema": SCHEMA}
CALL = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}}
RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}
RESPONSES_CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":"b"}'}
# Of turns and tools, which have their own places below.
_APART = {"messages", "input", "tools", "model", "stream", "functions"}
# Blocks of a turn of the assistant's.
_ASSISTANTS = ("thinking", "redacted_thinking", "tool_use", "server_tool_use")


class Pair:
    """Bodies with and without something, by its path."""

    def __init__(self, client: ClientFormat, path: str, without: Body, with_it: Body) -> None:
        self.client = client
        self.path = path
        self.without = without
        self.with_it = with_it

    def __str__(self) -> str:
        return f"{self.client}:{self.path}"


def user(content: Any) -> Body:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Body:
    return {"role": "assistant", "content": content}


BASES: dict[ClientFormat, Body] = {
    "chat": {"model": "x", "messages": [user("q")], "tools": [CHAT_TOOL]},
    "messages": {"model": "x", "max_tokens": 100, "messages": [user("q")], "tools": [TOOL]},
    "responses": {"model": "x", "input": [user("q")], "tools": [RESPONSES_TOOL]},
}
_REQUESTS: dict[ClientFormat, Any] = {
    "chat": CompletionCreateParamsNonStreaming,
    "messages": MessageCreateParamsNonStreaming,
    "responses": ResponseCreateParamsNonStreaming,
}
_TOOLS: dict[ClientFormat, Any] = {
    "chat": ChatCompletionToolUnionParam,
    "messages": BetaToolUnionParam,
    "responses": ToolParam,
}


def all_pairs() -> Iterator[Pair]:
    for client in BASES:
        yield from _fields(client)
        yield from _tools(client)
    yield from _around("chat", ChatCompletionContentPartParam, "content", _chat_part)
    yield from _around("chat", ChatCompletionMessageParam, "messages", _chat_turn)
    yield from _around("messages", BetaContentBlockParam, "content", _block)
    yield from _around("responses", ResponseInputContentParam, "content", _responses_part)
    yield from _around("responses", ResponseInputItemParam, "input", _item)


def _fields(client: ClientFormat) -> Iterator[Pair]:
    hints = get_type_hints(_REQUESTS[client], include_extras=True)
    for name, hint in hints.items():
        if name in _APART:
            continue
        base = {key: value for key, value in BASES[client].items() if key != name}
        if name == "function_call":
            base = {key: value for key, value in base.items() if key != "tools"}
            base["functions"] = [CHAT_TOOL["function"]]
        for path, old, new in variants(hint, name):
            without = base | ({name: BASES[client][name]} if name in BASES[client] else {})
            if old is not ABSENT:
                without = base | {name: old}
            yield Pair(client, f"{name}{path}", without, base | {name: new})


def _tools(client: ClientFormat) -> Iterator[Pair]:
    for kind in kinds(_TOOLS[client]):
        for path, old, new in variants(kind):
            without = [] if old is ABSENT else [old]
            base = BASES[client]
            more = base["tools"]
            yield Pair(
                client,
                f"tools{path}",
                base | {"tools": more + without},
                base | {"tools": [*more, new]},
            )


def _around(
    client: ClientFormat, union: Any, name: str, place: Callable[[Any], list[Body]]
) -> Iterator[Pair]:
    field = "input" if client == "responses" else "messages"
    for kind in kinds(union):
        for variant in variants(kind):
            if variant.path.endswith(".cache_control"):
                continue
            yield Pair(
                client,
                f"{name}{variant.path}",
                BASES[client] | {field: place(_old(variant))},
                BASES[client] | {field: place(variant.new)},
            )


def _old(variant: Variant) -> Any:
    return None if variant.old is ABSENT else variant.old


def _filled(*parts: Any) -> list[Any]:
    return [part for part in parts if part is not None]


def _chat_part(part: Any) -> list[Body]:
    return [user(_filled({"type": "text", "text": "q"}, part))]


def _chat_turn(turn: Any) -> list[Body]:
    if turn is None:
        return [user("q"), user("go on")]
    calls: list[Body] = []
    if turn["role"] == "tool":
        calls = [assistant(None) | {"tool_calls": [CHAT_CALL]}]
    elif turn["role"] == "function":
        called = {"name": turn["name"], "arguments": "{}"}
        calls = [assistant(None) | {"function_call": called}]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "r"}
        for call in turn.get("tool_calls") or ()
    ]
    if turn.get("function_call"):
        results.append({"role": "function", "name": turn["function_call"]["name"], "content": "r"})
    return [user("q"), *calls, turn, *results, user("go on")]


def _block(block: Any) -> list[Body]:
    kind = "" if block is None else block["type"]
    text = {"type": "text", "text": "a"}
    if kind == "tool_result":
        return [user("q"), assistant([CALL]), user([block, text])]
    if kind in _ASSISTANTS or kind.endswith("_tool_result"):
        results = []
        if kind == "tool_use":
            results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "r"}]
        return [user("q"), assistant([block, text]), user([*results, text])]
    if kind:
        return [user([text, block]), assistant([text]), user([text])]
    return [user([text]), assistant([text]), user([text])]


def _responses_part(part: Any) -> list[Body]:
    return [user(_filled({"type": "input_text", "text": "q"}, part))]


def _item(item: Any) -> list[Body]:
    if item is None:
        return [user("q"), user("go on")]
    kind = item.get("type", "")
    before: list[Body] = []
    after: list[Body] = []
    if kind == "function_call_output":
        before = [RESPONSES_CALL]
    elif kind == "custom_tool_call_output":
        before = [{"type": "custom_tool_call", "call_id": "c1", "name": "f", "input": "i"}]
    elif kind == "function_call":
        after = [{"type": "function_call_output", "call_id": item["call_id"], "output": "r"}]
    elif kind == "custom_tool_call":
        after = [{"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "r"}]
    return [user("q"), *before, item, *after, user("go on")]
