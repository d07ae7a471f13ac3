"""Calls by LiteLLM to providers whose API is nearly OpenAI's."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from libs.common.errors import AppError
from libs.common.schemas.usage import ClientFormat
from tests.service.gateway.library_wire import LibraryWire, settings, wired
from tests.service.gateway.translation_wire import CHAT_COMPLETION

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLAUDE = "databricks/databricks-claude-sonnet-4"
LLAMA = "databricks/databricks-meta-llama-3-3-70b-instruct"
GRANITE = "watsonx/ibm/granite-3-8b-instruct"
UNKNOWN = "nvidia_nim/meta/llama3-70b-instruct"
HI = [{"role": "user", "content": "hi"}]
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": EMPTY}}]
USER = {"metadata": {"user_id": "u"}}
FIVE = ["1", "2", "3", "4", "5"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire() -> AsyncIterator[LibraryWire]:
    with pytest.MonkeyPatch.context() as patch:
        # Its token would be got from IBM's own host.
        patch.setenv("WATSONX_PROJECT_ID", "p")
        patch.setenv("WATSONX_TOKEN", "t")
        async with wired(settings()) as library_wire:
            yield library_wire


@pytest.fixture(autouse=True)
def answered(wire: LibraryWire) -> None:
    wire.upstream.answers(json.dumps(CHAT_COMPLETION).encode())


SENT: list[tuple[str, ClientFormat, dict[str, Any], dict[str, Any]]] = [
    (
        CLAUDE,
        "messages",
        {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 4000}, **USER},
        {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 4000}},
    ),
    (
        LLAMA,
        "messages",
        {"max_tokens": 900, "stop_sequences": FIVE, **USER},
        {"max_tokens": 900, "stop": FIVE},
    ),
    (
        GRANITE,
        "chat",
        {"max_completion_tokens": 9, "tools": TOOLS, "tool_choice": "required", "user": "u"},
        {"max_tokens": 9, "tools": TOOLS, "tool_choice_option": "required"},
    ),
    (UNKNOWN, "chat", {"max_completion_tokens": 9, "user": "u"}, {"max_tokens": 9}),
]


@pytest.mark.parametrize(("name", "client", "fields", "sent"), SENT)
async def test_providers_receive_the_expected_fields(
    wire: LibraryWire,
    name: str,
    client: ClientFormat,
    fields: dict[str, Any],
    sent: dict[str, Any],
) -> None:
    response = await wire.ask(client, name, {"messages": HI, **fields})

    body = wire.sent
    assert {key: body.get(key) for key in sent} == sent
    extra = set(body) - set(sent) - {"model", "model_id", "project_id", "stream"}
    assert extra == {"messages"}
    assert response.usage is not None


REFUSED = [
    (LLAMA, {"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
    (GRANITE, {"logit_bias": {"1": 2}}, "logit_bias"),
    (LLAMA, {"unheard_of": 1}, "unheard_of"),
    (UNKNOWN, {"top_k": 3}, "top_k"),
]


@pytest.mark.parametrize(("name", "fields", "path"), REFUSED)
async def test_fields_that_would_be_lost_are_refused_by_their_paths(
    wire: LibraryWire, name: str, fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(AppError) as refused:
        await wire.ask("chat", name, {"messages": HI, **fields})

    assert (refused.value.status, refused.value.param) == (400, path)
    assert wire.upstream.requests == []


async def test_arguments_that_a_stream_leaves_out_are_an_empty_object(wire: LibraryWire) -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }
        return f"data: {json.dumps(body)}\n\n".encode()

    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    wire.upstream.streams(
        [
            chunk({"role": "assistant", "content": None, "tool_calls": [call]}),
            chunk({}, "tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )

    response = await wire.ask("responses", LLAMA, {"input": "hi", "stream": True})

    (item,) = response.body[-1]["response"]["output"]
    assert (item["type"], item["arguments"]) == ("function_call", "{}")


async def test_a_stream_without_an_end_is_incomplete(wire: LibraryWire) -> None:
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"content": "hel"}, "finish_reason": None}
    frame = f"data: {json.dumps({**body, 'choices': [choice]})}\n\n".encode()

    for frames in ([frame], [frame, b"data: [DONE]\n\n"]):
        wire.upstream.streams(frames)
        response = await wire.ask("chat", UNKNOWN, {"messages": HI, "stream": True})
        assert response.error is not None
        assert response.error.status == 502
