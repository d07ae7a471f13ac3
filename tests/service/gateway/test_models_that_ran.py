"""Calls in which other models ran than the one that was called: told, kept and posted alike."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio

from libs.common.domain.entries import billed_models, entry_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.prices.price_book import PriceBook, prices_at
from libs.common.storage.prices.price_map import PriceMap
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Models(msgspec.Struct):
    """A cheap model at 1 and 5 USD per million, and a dear one at 5 and 25, as Anthropic has."""

    own: str
    other: str


@pytest_asyncio.fixture(loop_scope="module")
async def models(books: Books) -> Models:
    pair = Models(f"own-{uuid4().hex}", f"other-{uuid4().hex}")
    await books.set_price(pair.own, input_usd="1", output_usd="5")
    await books.set_price(pair.other, input_usd="5", output_usd="25")
    return pair


async def ledger_entry(books: Books, secret: str) -> LedgerEntry:
    """The entry that the ledger makes of the key's one call."""
    event = await books.the_event(secret)
    billed = billed_models(event)
    price_at = await PriceBook(PriceStore(books.database), PriceMap(b"{}")).of_models(billed)
    entry = entry_of(event, prices_at(price_at, billed, event.started_at), event.started_at)
    assert isinstance(entry, LedgerEntry)
    return entry


def message_frames(message: dict[str, Any]) -> list[bytes]:
    """The message as a stream, its usage in parts: without runs, and cumulatively."""
    usage = message["usage"]
    start = {name: usage[name] for name in ("input_tokens",)} | {"output_tokens": 1}
    content = message["content"]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "usage": start}},
        *({"type": "content_block_delta", "index": 0, "delta": block} for block in content),
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"]},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


async def entry_of_call(
    gateway: Client,
    upstream: Upstream,
    books: Books,
    message: dict[str, Any],
    *,
    stream: bool,
    **fields: Any,
) -> LedgerEntry:
    """The entry of a call that is answered so; its hold is what the ledger will post."""
    if stream:
        upstream.streams(message_frames(message))
    else:
        upstream.answers(json.dumps(message).encode())
    secret = await books.add_key()
    body = MESSAGES.body(stream=stream, max_tokens=2_000, **fields)
    response = await gateway.post(MESSAGES.path, secret, body)
    assert response.status_code == 200, response.text
    entry = await ledger_entry(books, secret)
    assert await books.held(secret) == entry.cost_nusd
    if not stream:
        cost_usd = response.headers["x-gateway-cost-usd"]
        assert entry.cost_nusd == Decimal(cost_usd) * 10**9
    assert entry.usage_source == "provider"
    return entry


def answer(usage: dict[str, Any], model: str, text: str = "Hi", stop: str = "end_turn") -> Any:
    content = [{"type": "text", "text": text}] if text else []
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "usage": usage,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_compaction_is_charged(
    gateway: Client, upstream: Upstream, books: Books, models: Models, stream: bool
) -> None:
    """20,300 tokens at 1 and 450 at 5 USD per million; the hold covers both readings."""
    runs = [
        {"type": "compaction", "input_tokens": 18_000, "output_tokens": 350},
        {"type": "message", "input_tokens": 2_300, "output_tokens": 100},
    ]
    usage = {"input_tokens": 2_300, "output_tokens": 100, "iterations": runs}
    edits = {"edits": [{"type": "compact_20260112"}]}
    entry = await entry_of_call(
        gateway,
        upstream,
        books,
        answer(usage, models.own),
        stream=stream,
        model=f"anthropic/{models.own}",
        context_management=edits,
        messages=[{"role": "user", "content": "word " * 11_000}],
    )
    assert entry.cost_nusd == 22_550_000 <= entry.held_nusd
    assert [line.run for line in entry.lines] == [None, None, "compaction", "compaction"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_adviser_is_charged_at_its_own_price(
    gateway: Client, upstream: Upstream, books: Books, models: Models, stream: bool
) -> None:
    """1,760 x 1 + 531 x 5, and 823 x 5 + 1,612 x 25."""
    advice = {"type": "advisor_message", "input_tokens": 823, "output_tokens": 1_612}
    usage = {
        "input_tokens": 1_760,
        "output_tokens": 531,
        "iterations": [{**advice, "model": models.other}],
    }
    tool = {"type": "advisor_20260301", "name": "advisor", "model": models.other, "max_uses": 1}
    entry = await entry_of_call(
        gateway,
        upstream,
        books,
        answer(usage, models.own),
        stream=stream,
        model=f"anthropic/{models.own}",
        tools=[tool],
        messages=[{"role": "user", "content": "word " * 2_000}],
    )
    assert entry.cost_nusd == 48_830_000 <= entry.held_nusd
    assert {line.model for line in entry.lines} == {None, models.other}


@pytest.mark.parametrize("source", ["by a run", "by the model alone"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_has_the_price_of_the_model_that_answered(
    gateway: Client, upstream: Upstream, books: Books, models: Models, stream: bool, source: str
) -> None:
    """1,000 x 1 + 1,000 x 5; the attempt that was declined at once is free."""
    usage: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 1_000}
    served = {"type": "fallback_message", "model": models.own, **usage}
    declined = {"type": "message", "model": models.other, **usage, "output_tokens": 0}
    if source == "by a run":
        usage["iterations"] = [declined, served]
    entry = await entry_of_call(
        gateway,
        upstream,
        books,
        answer(usage, models.own),
        stream=stream,
        model=f"anthropic/{models.other}",
        fallbacks=[{"model": models.own}],
    )
    assert entry.cost_nusd == 6_000_000
    assert (entry.model, entry.usage and entry.usage.model) == (models.other, models.own)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_the_request_does_not_name_does_not_choose_the_price(
    gateway: Client, upstream: Upstream, books: Books, models: Models, stream: bool
) -> None:
    """An answer may name a snapshot, or anything."""
    usage = {"input_tokens": 1_000, "output_tokens": 1_000}
    entry = await entry_of_call(
        gateway,
        upstream,
        books,
        answer(usage, models.own),
        stream=stream,
        model=f"anthropic/{models.other}",
    )
    assert entry.cost_nusd == 30_000_000


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda d: d.name)
async def test_the_first_of_several_models_that_answers_has_its_price(
    gateway: Client, upstream: Upstream, books: Books, models: Models, dialect: Dialect
) -> None:
    """As OpenRouter takes them."""
    for name, nusd in ((models.other, 20 * 5_000 + 7 * 25_000), (models.own, 20_000 + 35_000)):
        usage = {"prompt_tokens": 20, "completion_tokens": 7}
        if dialect is RESPONSES:
            usage = {"input_tokens": 20, "output_tokens": 7}
        upstream.answers(json.dumps({**dialect.whole, "model": name, "usage": usage}).encode())
        secret = await books.add_key()
        body = dialect.body(model=f"openai/{models.own}", models=[models.other])
        response = await gateway.post(dialect.path, secret, body)
        assert response.status_code == 200, response.text
        assert (await ledger_entry(books, secret)).cost_nusd == nusd


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_before_any_output_is_free(
    gateway: Client, upstream: Upstream, books: Books, models: Models, stream: bool
) -> None:
    usage = {"input_tokens": 100_000, "output_tokens": 0}
    refused = answer(usage, models.own, text="", stop="refusal")
    model = f"anthropic/{models.own}"
    entry = await entry_of_call(gateway, upstream, books, refused, stream=stream, model=model)
    assert (entry.status, entry.cost_nusd, entry.lines) == ("ok", 0, ())
    # What it would have cost is shown.
    assert entry.usage is not None
    assert (entry.usage.input_text, entry.usage.unbilled) == (100_000, True)


async def test_a_failed_response_counts_as_failed(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """It is sent as it is, and charged for what it says that it used."""
    for usage, tokens in ((None, None), ({"input_tokens": 5_000, "output_tokens": 700}, 5_000)):
        failed: dict[str, Any] = {"id": "resp_1", "status": "failed", "output": [], "usage": usage}
        failed["error"] = {"code": "server_error", "message": "The model failed."}
        upstream.answers(json.dumps(failed).encode())
        secret = await books.add_key()
        response = await gateway.post(RESPONSES.path, secret, RESPONSES.body())
        assert (response.status_code, response.json()) == (200, failed)
        event = await books.the_event(secret)
        assert (event.status, event.http_status) == ("upstream_error", 200)
        assert (event.usage and event.usage.input_text) == tokens
