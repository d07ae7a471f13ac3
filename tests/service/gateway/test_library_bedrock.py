"""Calls to Bedrock's Converse API by LiteLLM: what it gets to send, and what its answers become."""

import copy
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import pytest_asyncio

from libs.common.errors import AppError, CallMalformed
from libs.common.schemas.usage import ClientFormat
from tests.service.gateway.bedrock_wire import (
    BEGUN,
    CALL,
    CLAUDE,
    ENDED,
    LLAMA,
    NEWER_CLAUDE,
    NOVA,
    STREAM_HEADERS,
    TEXT,
    THOUGHT,
    converse,
    cut,
    event,
)
from tests.service.gateway.library_wire import LibraryWire, settings, wired
from tests.service.gateway.upstream import UpstreamConnection, UpstreamRequest

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # pydantic's remark on LiteLLM's own habits, which the gateway leaves out as well.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

HI = [{"role": "user", "content": "hi"}]
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": EMPTY}}]
MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
ASKED_CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
HISTORY = [
    *HI,
    {"role": "assistant", "content": None, "tool_calls": ASKED_CALLS},
    {"role": "tool", "tool_call_id": "c1", "content": "r"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire() -> AsyncIterator[LibraryWire]:
    async with wired(settings()) as library_wire:
        yield library_wire


@pytest.fixture(autouse=True)
def answered(wire: LibraryWire) -> None:
    wire.upstream.answers(converse(TEXT))


def streams(wire: LibraryWire, messages: Iterable[bytes]) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.stream(cut(messages), headers=STREAM_HEADERS)

    wire.upstream.does(script)


THINKING = [
    (CLAUDE, "chat", {"reasoning_effort": "high"}, {"type": "enabled", "budget_tokens": 16384}),
    (CLAUDE, "chat", {"reasoning_effort": "none"}, {"type": "disabled"}),
    (
        CLAUDE,
        "messages",
        {"thinking": {"type": "enabled", "budget_tokens": 4000}, "max_tokens": 4500},
        {"type": "enabled", "budget_tokens": 3476},
    ),
    (NEWER_CLAUDE, "chat", {"reasoning_effort": "none"}, {"type": "disabled"}),
]


@pytest.mark.parametrize(("name", "client", "fields", "sent"), THINKING)
async def test_how_much_claude_shall_think(
    wire: LibraryWire,
    name: str,
    client: ClientFormat,
    fields: dict[str, Any],
    sent: dict[str, Any],
) -> None:
    """With the limit that was asked for, or the model's own, beside it."""
    await wire.ask(client, name, {"messages": HI, **fields})

    assert wire.sent["additionalModelRequestFields"]["thinking"] == sent
    limit = wire.sent["inferenceConfig"]["maxTokens"]
    assert limit == fields.get("max_tokens", limit)
    assert limit > sent.get("budget_tokens", 0)


async def test_an_effort_in_claudes_words(wire: LibraryWire) -> None:
    fields = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}

    await wire.ask("messages", NEWER_CLAUDE, {"messages": HI, "max_tokens": 900, **fields})

    sent = wire.sent["additionalModelRequestFields"]
    assert sent["thinking"]["type"] == "adaptive"
    assert sent["output_config"] == {"effort": "low"}


async def test_novas_effort(wire: LibraryWire) -> None:
    response = await wire.ask("chat", NOVA, {"messages": HI, "reasoning_effort": "xhigh"})

    sent = wire.sent["additionalModelRequestFields"]
    assert sent == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}
    assert response.headers["x-gateway-adapted-params"] == "reasoning_effort"


async def test_claude_gets_marks_and_thoughts_and_no_labels(wire: LibraryWire) -> None:
    """The caller's own objects stay as they are."""
    body = {
        "max_tokens": 100,
        "system": [{"type": "text", "text": "s", **MARK}],
        "tools": [{"name": "f", "input_schema": EMPTY}],
        "metadata": {"user_id": "u"},
        "stop_sequences": ["1", "2", "3", "4", "5"],
        "messages": [
            {"role": "user", "content": "q"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "sig"},
                    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": True,
                        "content": "bad",
                    }
                ],
            },
        ],
    }
    before = copy.deepcopy(body)

    await wire.ask("messages", CLAUDE, body)

    sent = wire.sent
    assert body == before
    assert sent["system"] == [{"text": "s"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [turn["content"] for turn in sent["messages"]] == [
        [{"text": "q"}],
        [
            {"reasoningContent": {"reasoningText": {"text": "t", "signature": "sig"}}},
            {"toolUse": {"input": {}, "name": "f", "toolUseId": "toolu_1"}},
        ],
        [{"toolResult": {"content": [{"text": "Error: bad"}], "toolUseId": "toolu_1"}}],
    ]
    assert sent["inferenceConfig"]["stopSequences"] == ["1", "2", "3", "4", "5"]
    assert "additionalModelRequestFields" not in sent
    assert "requestMetadata" not in sent


SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
SVG = {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}}
ELSEWHERE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
REFUSED = [
    *(
        (name, {"messages": [{"role": "user", "content": [part]}]}, "messages[0].content[0]")
        for name in (CLAUDE, NOVA)
        for part in (SOUND, SVG, ELSEWHERE)
    ),
    (CLAUDE, {"messages": HISTORY}, "tools"),
    (NOVA, {"messages": HISTORY, "tools": TOOLS, "tool_choice": "none"}, "tool_choice"),
    (NOVA, {"messages": HI, "tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
    (LLAMA, {"messages": HI, "tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
    (NOVA, {"messages": HI, "seed": 3}, "seed"),
    (NOVA, {"messages": HI, "top_k": 3}, "top_k"),
    (CLAUDE, {"messages": [{"role": "system", "content": "alone"}]}, "messages"),
    (NOVA, {"messages": HI, "additionalModelRequestFields": {"x": 1}}, None),
]


@pytest.mark.parametrize(("name", "body", "path"), REFUSED)
async def test_fields_that_would_be_lost_are_refused_by_their_paths(
    wire: LibraryWire, name: str, body: dict[str, Any], path: str | None
) -> None:
    with pytest.raises(AppError) as refused:
        await wire.ask("chat", name, body)

    assert refused.value.status == 400
    assert refused.value.param == (path or "additionalModelRequestFields")
    assert wire.upstream.requests == []


async def test_tool_choice_none_omits_the_tools(wire: LibraryWire) -> None:
    await wire.ask("chat", CLAUDE, {"messages": HI, "tools": TOOLS, "tool_choice": "none"})

    assert "toolConfig" not in wire.sent


@pytest.mark.parametrize("name", [CLAUDE, NOVA])
async def test_an_object_is_asked_for_in_words(wire: LibraryWire, name: str) -> None:
    body = {"messages": HI, "response_format": {"type": "json_object"}}

    response = await wire.ask("chat", name, body)

    assert wire.sent["system"] == [{"text": "Answer with a single JSON object and nothing else."}]
    assert response.headers["x-gateway-adapted-params"] == "response_format"


async def test_usage_is_put_together_from_its_parts(wire: LibraryWire) -> None:
    """The total that Bedrock tells leaves caches out, and LiteLLM guesses what was thought."""
    wire.upstream.answers(converse(THOUGHT, TEXT))
    whole = await wire.ask("chat", CLAUDE, {"messages": HI})
    streams(wire, [*BEGUN, *ENDED])
    streamed = await wire.ask("chat", CLAUDE, {"messages": HI, "tools": TOOLS, "stream": True})

    for response in (whole, streamed):
        usage = response.usage
        assert usage is not None
        assert (usage.input_text, usage.cache_read, usage.cache_write_5m) == (20, 500, 30)
        assert (usage.output_text, usage.reasoning) == (9, None)
    assert whole.body["usage"]["total_tokens"] == 559


@pytest.mark.parametrize("stop", ["tool_use", "end_turn"])
async def test_an_answer_with_a_call_ends_in_it(wire: LibraryWire, stop: str) -> None:
    wire.upstream.answers(converse(TEXT, CALL, stop=stop))

    response = await wire.ask("messages", CLAUDE, {"messages": HI, "max_tokens": 9})

    assert response.body["stop_reason"] == "tool_use"
    assert [block["type"] for block in response.body["content"]] == ["text", "tool_use"]


async def test_a_call_that_broke_is_not_a_normal_end(wire: LibraryWire) -> None:
    wire.upstream.answers(converse(stop="malformed_tool_use"))

    response = await wire.ask("chat", NOVA, {"messages": HI})

    assert (response.status, response.body["error"]["code"]) == (502, CallMalformed.code)
    assert response.usage is not None


async def test_a_stream_is_read_wherever_it_is_cut(wire: LibraryWire) -> None:
    streams(wire, [*BEGUN, *ENDED])

    response = await wire.ask("messages", CLAUDE, {"messages": HI, "max_tokens": 9, "stream": True})

    text = json.dumps(response.body)
    assert response.error is None
    assert [event["type"] for event in response.body][-1] == "message_stop"
    for part in ("hel", "lo", "tooluse_1", '{\\"a\\":1}', '"stop_reason": "tool_use"'):
        assert part in text, part


BROKEN = [
    (BEGUN, 502),
    ([*BEGUN, event("throttlingException", {"message": "Too many."}, "exception")], 429),
    ([*BEGUN, event("modelStreamErrorException", {"message": "No."}, "exception")], 424),
    ([*BEGUN, ENDED[0][:-3] + b"\0\0\0"], 502),
]


@pytest.mark.parametrize(("messages", "status"), BROKEN, ids=["cut", "429", "424", "checksum"])
async def test_a_broken_stream_is_never_a_success(
    wire: LibraryWire, messages: list[bytes], status: int
) -> None:
    streams(wire, messages)

    response = await wire.ask("chat", CLAUDE, {"messages": HI, "stream": True})

    assert response.error is not None
    assert response.error.status == status
    assert '"finish_reason": "' not in json.dumps(response.body)
    assert not any(word in response.error.message for word in ("litellm", "Traceback", "b'"))


async def test_an_error_of_bedrocks(wire: LibraryWire) -> None:
    body = json.dumps({"message": "Too many requests."}).encode()
    wire.upstream.answers(body, status=429, headers={"retry-after": "9"})

    with pytest.raises(AppError) as failed:
        await wire.ask("chat", CLAUDE, {"messages": HI})

    error: Any = failed.value
    assert error.status == 429
    assert error.message == "Too many requests. Please try again in 9s."
    assert error.retry_after_s == 9
    assert len(wire.upstream.requests) == 1
