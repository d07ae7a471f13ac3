"""Conversations that two providers share: each turn a call's result, each other one a fallback.

The scripted providers refuse what real ones do, signatures of the other one's above all.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import Deployment
from tests.agents.provider import Provider, Request
from tests.agents.speech import ANTHROPIC_SIGNATURE, OPENAI_SIGNATURE, Answer, Fault
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.routes import add_route
from tests.service.gateway.stage import Client
from tests.service.gateway.test_native_translation import put_together
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLAUDE = ProfileFields(has_budgets=True, efforts=(), checks_results=True)
ADAPTIVE = ProfileFields(is_adaptive=True, efforts=("low", "medium", "high"))
GPT = ProfileFields(efforts=("low", "medium", "high"))
# Its name, the formats of OpenAI's that it speaks, its profile, and what it signatures with.
TARGETS: dict[str, tuple[str, tuple[Any, ...] | None, ProfileFields, str]] = {
    "claude": ("anthropic/claude-haiku-4-5", None, CLAUDE, ANTHROPIC_SIGNATURE),
    "adaptive": ("anthropic/claude-haiku-4-5", None, ADAPTIVE, ANTHROPIC_SIGNATURE),
    "gpt": ("openai/gpt-4o", ("responses",), GPT, OPENAI_SIGNATURE),
    "server": ("hosted_vllm/shared", ("chat",), GPT, ""),
}
PAIRS = [("claude", "gpt"), ("gpt", "claude"), ("gpt", "adaptive"), ("server", "claude")]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
THINKING: dict[str, dict[str, Any]] = {
    "chat": {
        "reasoning_effort": "high",
        "max_tokens": 30_000,
        "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    },
    "messages": {
        "thinking": {"type": "enabled", "budget_tokens": 8192},
        "max_tokens": 30_000,
        "tools": [{"name": "look", "input_schema": SCHEMA}],
    },
    "responses": {
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "max_output_tokens": 30_000,
        "tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}],
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(books: Books) -> AsyncIterator[Provider]:
    await books.set_price("hosted_vllm/shared", input_usd="1", output_usd="1")
    with Provider().serving() as provider:
        yield provider


def first(request: Request) -> Answer | Fault:
    """Two calls, then a failure, a call, and a failure again."""
    number = len(request.results)
    if number in (2, 4):
        return Fault(status=503, body={"error": {"type": "overloaded", "message": "busy"}})
    calls = ("Oslo", "Bergen") if number == 0 else ("Voss",)
    looks = tuple(("look", {"city": city}) for city in calls)
    return Answer(thinking=f"Thought {number}.", text="I look.", calls=looks)


def second(request: Request) -> Answer:
    """A call, and the end."""
    number = len(request.results)
    if number == 2:
        return Answer(thinking="Thought 2.", calls=(("look", {"city": "Bodø"}),))
    return Answer(thinking="Thought 4.", text=" ".join(request.results))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("dialect", [CHAT, MESSAGES, RESPONSES], ids=lambda each: each.name)
async def test_fallbacks_share_a_conversation(
    gateway: Client,
    books: Books,
    provider: Provider,
    dialect: Dialect,
    one: str,
    other: str,
    stream: bool,
) -> None:
    run = uuid4().hex
    names = [f"{run}-one", f"{run}-other"]
    for name, target, script in zip(names, (one, other), (first, second), strict=True):
        # A server that is relayed to has its own words beyond OpenAI's.
        provider.plays(name, script, relayed=target == "server" and dialect is CHAT)
    deployments = [
        _deployment(provider, name, target, priority)
        for priority, (name, target) in enumerate(zip(names, (one, other), strict=True))
    ]
    route = await add_route(books, *deployments)
    secret = await books.add_key()

    text = await _run(gateway, secret, route, dialect, stream=stream)

    assert text == "Rain in Oslo. Rain in Bergen. Rain in Bodø. Rain in Voss."
    requests = {name: provider.requests(name) for name in names}
    assert [[each.faults for each in requests[name]] for name in names] == [[[]] * 4, [[]] * 2]
    # Each has its own thinking back, whatever the other one said in between.
    for name, target in zip(names, (one, other), strict=True):
        signature = TARGETS[target][3]
        # A budget excludes thinking amid another's loop of tools, so the second has none then.
        is_budget = target == "claude" or (target == "adaptive" and dialect is MESSAGES)
        if signature and not (is_budget and name == names[1]):
            assert f"{signature}-".encode() in requests[name][-1].raw


def _deployment(provider: Provider, name: str, target: str, priority: int) -> Deployment:
    model, formats, profile, _ = TARGETS[target]
    base = f"{provider.url}/{name}" + ("" if formats is None else "/v1")
    return Deployment(
        deployment_id=name,
        model=model,
        api_base=base,
        formats=formats,
        profile=profile,
        priority=priority,
    )


async def _run(gateway: Client, secret: str, route: str, dialect: Dialect, *, stream: bool) -> str:
    """As an agent does: all that was said goes back, with what the tools gave. Its last words."""
    field = dialect.prompt_field
    history: list[Any] = [{"role": "user", "content": "How is the weather?"}]
    while True:
        body = {"model": route, "stream": stream, field: history, **THINKING[dialect.name]}
        response = await gateway.post(dialect.path, secret, body)
        assert response.status_code == 200, response.text
        answer = put_together(dialect, response.text) if stream else response.json()
        turns, calls, text = _READ[dialect.name](answer)
        if not calls:
            return text
        results = [(id_, f"Rain in {json.loads(arguments)['city']}.") for id_, arguments in calls]
        history = [*history, *turns, *_RESULTS[dialect.name](results)]


def _of_chat(answer: Any) -> tuple[list[Any], list[tuple[str, str]], str]:
    message = answer["choices"][0]["message"]
    calls = [(c["id"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
    fields = {name: value for name, value in message.items() if value is not None}
    return [{"content": None, **fields}], calls, message["content"]


def _of_message(answer: Any) -> tuple[list[Any], list[tuple[str, str]], str]:
    blocks = answer["content"]
    calls = [(b["id"], json.dumps(b["input"])) for b in blocks if b["type"] == "tool_use"]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    content = [{k: v for k, v in block.items() if v is not None} for block in blocks]
    return [{"role": "assistant", "content": content}], calls, text


def _of_response(answer: Any) -> tuple[list[Any], list[tuple[str, str]], str]:
    items = answer["output"]
    calls = [(i["call_id"], i["arguments"]) for i in items if i["type"] == "function_call"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    return items, calls, "".join(part["text"] for part in parts)


_READ = {"chat": _of_chat, "messages": _of_message, "responses": _of_response}
_RESULTS: dict[str, Any] = {
    "chat": lambda results: [
        {"role": "tool", "tool_call_id": id_, "content": text} for id_, text in results
    ],
    "messages": lambda results: [
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": id_, "content": text}
                for id_, text in results
            ],
        }
    ],
    "responses": lambda results: [
        {"type": "function_call_output", "call_id": id_, "output": text} for id_, text in results
    ],
}
