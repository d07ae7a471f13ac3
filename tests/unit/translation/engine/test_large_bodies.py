"""Large bodies take time in proportion, and no depth of Python's stack.

Counted are steps of the interpreter, which no other load changes.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import (
    BASES,
    CALL,
    CHAT_CALL,
    CHAT_TOOL,
    RESPONSES_CALL,
    RESPONSES_TOOL,
    TOOL,
    Body,
    assistant,
    user,
)
from tests.unit.translation.engine.calls import translation

SMALL, GROWTH = 20, 8
# What does not grow with the body is in both, so less than in proportion is usual.
MOST = GROWTH * 1.25
ROADS: tuple[tuple[str, ClientFormat], ...] = (
    ("gpt-4.1", "chat"),
    ("gpt-5-mini", "responses"),
    ("claude-sonnet-4-5", "messages"),
    ("mistral/mistral-large-latest", "chat"),
)
_SIGNATURE = "gws1.openai.Z0FBQUE"
_THOUGHT = {"type": "thinking", "thinking": "t", "signature": _SIGNATURE}


def turns(client: ClientFormat, count: int) -> list[Body]:
    """Calls and their results, system messages inside, and thoughts that nothing follows."""
    messages: list[Body] = [user("q")]
    for index in range(count):
        messages += _called(client, f"c{index}")
        messages += [{"role": "system", "content": "s"}, user("go on")]
        if client == "responses":
            messages.append({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"})
        else:
            blocks: Body = {"content": [_THOUGHT]}
            if client == "chat":
                blocks = {"content": "", "thinking_blocks": [_THOUGHT]}
            messages.append({"role": "assistant"} | blocks)
        messages.append(user("go on"))
    return messages


def _called(client: ClientFormat, call_id: str) -> list[Body]:
    if client == "chat":
        called = assistant(None) | {"tool_calls": [CHAT_CALL | {"id": call_id}]}
        return [called, {"role": "tool", "tool_call_id": call_id, "content": "r"}]
    if client == "messages":
        result = {"type": "tool_result", "tool_use_id": call_id, "content": "r"}
        return [assistant([CALL | {"id": call_id}]), user([result])]
    output = {"type": "function_call_output", "call_id": call_id, "output": "r"}
    return [RESPONSES_CALL | {"call_id": call_id}, output]


def tools(client: ClientFormat, count: int) -> list[Body]:
    if client == "chat":
        function = CHAT_TOOL["function"]
        return [
            {"type": "function", "function": {**function, "name": f"f{n}"}}  # type: ignore[dict-item]
            for n in range(count)
        ]
    tool = TOOL if client == "messages" else RESPONSES_TOOL
    return [tool | {"name": f"f{n}"} for n in range(count)]


def parts(client: ClientFormat, count: int) -> list[Body]:
    kind = "input_text" if client == "responses" else "text"
    return [user([{"type": kind, "text": "x"}] * count)]


def steps(do: Callable[[], Any]) -> int:
    """How many functions of Python's are called."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        do()
    finally:
        sys.setprofile(None)
    return count


def _body(client: ClientFormat, kind: str, count: int) -> Body:
    if kind == "tools":
        return BASES[client] | {"tools": tools(client, count)}
    messages = (turns if kind == "turns" else parts)(client, count)
    return BASES[client] | {"input" if client == "responses" else "messages": messages}


@pytest.mark.parametrize("kind", ["turns", "tools", "parts"])
@pytest.mark.parametrize(("name", "to"), ROADS)
@pytest.mark.parametrize("client", BASES)
def test_work_grows_with_the_body(
    client: ClientFormat, name: str, to: ClientFormat, kind: str
) -> None:
    def steps_for(count: int) -> int:
        body = _body(client, kind, count)
        return steps(lambda: translation(client, body, name, to, drops=True))

    steps_for(1)
    assert steps_for(SMALL * GROWTH) < steps_for(SMALL) * MOST


@pytest.mark.parametrize("client", BASES)
def test_four_thousand_turns_of_thoughts_alone(client: ClientFormat) -> None:
    if client == "responses":
        thoughts = [{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}, user("q")]
    elif client == "messages":
        thoughts = [assistant([_THOUGHT]), user("q")]
    else:
        thoughts = [assistant("") | {"thinking_blocks": [_THOUGHT]}, user("q")]
    field = "input" if client == "responses" else "messages"
    body = BASES[client] | {field: [user("q"), *thoughts * 2_000]}
    sent = translation(client, body, "gpt-5-mini", "responses")
    assert len(sent.fields["input"]) == 2_001
