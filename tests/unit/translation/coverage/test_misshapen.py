"""A client's mistake is its own: refused by its place, and never a failure of a provider's."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from libs.common.errors import InvalidRequest
from libs.common.schemas.usage import ClientFormat
from tests.unit.translation.coverage.bodies import CALL, CHAT_CALL, RESPONSES_CALL
from tests.unit.translation.mender.calls import mend_body
from tests.unit.translation.mender.test_targets import AGENT, CLAUDE_CODE, CODEX

WRONG: tuple[Any, ...] = (None, True, 5, -1, 0.5, "x", "", [], [None], ["x"], {}, {"a": 1}, [{}])
SCHEMA = {"type": "object", "properties": {}}
IMAGE = "data:image/png;base64,aGVsbG8="
BODIES: dict[ClientFormat, dict[str, Any]] = {
    "messages": CLAUDE_CODE
    | {
        "temperature": 1,
        "stop_sequences": ["a"],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "messages": [
            *CLAUDE_CODE["messages"],
            {
                "role": "assistant",
                "content": [CALL, {"type": "redacted_thinking", "data": "d"}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "is_error": True,
                        "content": [
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": "aGVsbG8=",
                                },
                            }
                        ],
                    },
                    {
                        "type": "document",
                        "title": "t",
                        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                    },
                ],
            },
        ],
    },
    "chat": AGENT
    | {
        "max_tokens": 9_000,
        "stop": ["a"],
        "temperature": 1,
        "parallel_tool_calls": False,
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "user": "u",
        "messages": [
            *AGENT["messages"],
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "q"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL | {"id": "c2"}]},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "r"}]},
        ],
    },
    "responses": CODEX
    | {
        "max_output_tokens": 9_000,
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "q"},
                    {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
                ],
            },
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}]},
            {
                "type": "message",
                "role": "assistant",
                "id": "m",
                "status": "completed",
                "content": [{"type": "output_text", "text": "a", "annotations": []}],
            },
            RESPONSES_CALL,
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
        ],
    },
}
TARGETS: tuple[tuple[str, ClientFormat], ...] = (
    ("gpt-5-mini", "responses"),
    ("gpt-4.1", "chat"),
    ("claude-sonnet-4-5", "messages"),
    ("mistral/mistral-large-latest", "chat"),
)


def misshapen(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """With one value anywhere in it replaced by another, or left out."""
    for path in _paths(body):
        for value in (*WRONG, ...):
            yield f"{path}: {value!r}", _changed(body, path, value)


def _changed(holder: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy that shares all that is not on the path."""
    changed = copy.copy(holder)
    step, *rest = path
    if rest:
        changed[step] = _changed(holder[step], tuple(rest), value)
    elif value is ...:
        del changed[step]
    else:
        changed[step] = value
    return changed


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps: Any = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        steps = enumerate(value)
    for step, inner in steps:
        yield (*path, step)
        yield from _paths(inner, (*path, step))


@pytest.mark.parametrize(("name", "to"), TARGETS)
@pytest.mark.parametrize("client", BODIES)
def test_a_mistake_is_refused_by_its_place(
    client: ClientFormat, name: str, to: ClientFormat
) -> None:
    strays: dict[str, Any] = {}
    refused = 0
    for what, body in misshapen(BODIES[client]):
        try:
            mend_body(client, body, name, to, drops=True)
        except InvalidRequest as error:
            refused += 1
            root = (error.param or "").partition("[")[0].partition(".")[0]
            if root not in BODIES[client]:
                strays[what] = (error.param, error.message)
    assert strays == {}
    assert refused > 100
