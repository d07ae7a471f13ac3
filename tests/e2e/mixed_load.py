"""Mixed load on a stack, and what it should cost by the stand-in provider's own record of it."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.client import StackClient
from deploy.local.stack import LocalStack

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
_MODELS = {
    CHAT: ("gpt-4o-mini", "gpt-4.1"),
    RESPONSES: ("gpt-4.1-mini", "openai/gpt-4o-mini"),
    MESSAGES: ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
}
_LIMIT_S = 120.0
_MAP_KEYS = {
    "input_text": ("input_cost_per_token",),
    "cache_read": ("cache_read_input_token_cost", "input_cost_per_token"),
    "cache_write_5m": ("cache_creation_input_token_cost", "input_cost_per_token"),
    "cache_write_1h": ("cache_creation_input_token_cost_above_1hr",),
    "output_text": ("output_cost_per_token",),
    "reasoning": ("output_cost_per_token",),
}


def requests(count: int, seed: int, *, padding: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Paths and bodies: three formats, streamed and not, with and without cached tokens.

    The provider reports more tokens than a body without padding could have.
    """
    chance = random.Random(seed)
    return [_request(chance, padding) for _ in range(count)]


def _request(chance: random.Random, padding: str) -> tuple[str, dict[str, Any]]:
    path = chance.choice((CHAT, RESPONSES, MESSAGES))
    cached = chance.randrange(0, 400)
    script = (
        f"input_tokens={chance.randrange(400, 5000)} output_tokens={chance.randrange(1, 900)} "
        f"cached_tokens={cached} chunks={chance.randrange(1, 12)}"
    )
    if path == MESSAGES:
        written = chance.randrange(0, 300)
        script += f" cache_write_tokens={written} cache_write_1h_tokens={written // 3}"
    text = f"[[stand-in {script}]] hello{padding}"
    body: dict[str, Any] = {
        "model": chance.choice(_MODELS[path]),
        "stream": chance.random() < 0.5,
    }
    if path == RESPONSES:
        return path, {**body, "input": text, "max_output_tokens": 1000}
    body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 1000}
    return path, body


async def send_all(
    stack: LocalStack, calls: Sequence[tuple[str, dict[str, Any]]], *, at_a_time: int
) -> list[str]:
    """Sends every call, and returns the ids under which the gateway knows them."""
    slots = asyncio.Semaphore(at_a_time)
    headers = {"authorization": f"Bearer {stack.info.demo_api_key}"}
    urls = stack.gateway_urls

    async def send(number: int, path: str, body: Mapping[str, Any]) -> str:
        url = urls[number % len(urls)] + path
        async with slots, session.post(url, json=body) as response:
            answer = await response.read()
            assert response.status == 200, answer
            terminal = {CHAT: b"[DONE]", RESPONSES: b"response.completed", MESSAGES: b"_stop"}
            assert not body["stream"] or terminal[path] in answer
            return response.headers["x-request-id"]

    timeout = aiohttp.ClientTimeout(total=_LIMIT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        return await asyncio.gather(
            *(send(number, path, body) for number, (path, body) in enumerate(calls))
        )


def served(stack: LocalStack, after: int = 0) -> list[dict[str, Any]]:
    """The stand-in's record of each call since `after`."""
    provider = StackClient(stack.info.provider_url, "oracle")
    calls: list[dict[str, Any]] = []
    while True:
        page = provider.expect("GET", f"/_stand-in/calls?after={after}&limit=1000")
        calls += page["calls"]
        after = page["next"]
        if not page["more"]:
            return calls


def cost_usd(call: Mapping[str, Any]) -> Decimal:
    """From LiteLLM's map and the record alone: nothing of the gateway's own arithmetic."""
    row = _price_map()[call["model"]]
    total = Decimal(0)
    for name, tokens in call["tokens"].items():
        if tokens:
            key = next(key for key in _MAP_KEYS[name] if key in row)
            total += row[key] * tokens
    return total.quantize(Decimal("1e-9"))


@cache
def _price_map() -> dict[str, Any]:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
    return dict(json.loads(path.read_bytes(), parse_float=Decimal))
