"""What is held for a call, by what its body can bring about."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from libs.common.schemas.price import Rates, Tier
from tests.service.gateway.dialects import CHAT, MESSAGES, Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATES = {"cache_write_5m": 1.25, "cache_write_1h": 2, "input_audio": 10, "output_audio": 20}
SURCHARGES = {"fast": Decimal(2), "us": Decimal("1.1")}
PRIORITY = Tier(rates=Rates(input=Decimal(3), output=Decimal(3)), service_tier="priority")


async def held(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, **fields: Any
) -> int:
    """For a call of a provider of that format whose tokens are a dollar a million."""
    provider = "anthropic" if dialect is MESSAGES else "openai"
    name = f"held-{uuid4().hex}"
    rates = Rates(
        input=Decimal(1),
        output=Decimal(1),
        **{rate: Decimal(str(usd)) for rate, usd in RATES.items()},
    )
    tiers = (PRIORITY,) if "service_tier" in fields else ()
    surcharges = SURCHARGES if "speed" in fields else {}
    await books.set_price(
        name,
        input_usd="1",
        output_usd="1",
        provider=provider,
        rates=rates,
        tiers=tiers,
        surcharges=surcharges,
    )
    upstream.answers(dialect.answer)
    secret = await books.add_key()
    body = dialect.body(**fields, model=f"{provider}/{name}")
    assert (await gateway.post(dialect.path, secret, body)).status_code == 200
    return (await books.the_event(secret)).held_nusd


@pytest.mark.parametrize(
    ("control", "rate"),
    [({"note": "nothing"}, 1), ({}, 1.25), ({"ttl": "1h"}, 2)],
    ids=["none", "five minutes", "an hour"],
)
async def test_cache_writes_are_held_for(
    gateway: Client, upstream: Upstream, books: Books, control: dict[str, str], rate: float
) -> None:
    mark = {"metadata": control} if "note" in control else {"cache_control": control}
    system = [{"type": "text", "text": "x" * 30_000, **mark}]

    amount = await held(gateway, upstream, books, MESSAGES, system=system, max_tokens=1)

    assert 10_000 <= amount / 1_000 / rate <= 10_100


async def test_audio_is_held_for_by_its_length(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    recording = {"type": "input_audio", "input_audio": {"data": "A" * 80_000, "format": "mp3"}}
    messages = [{"role": "user", "content": [recording]}]

    amount = await held(gateway, upstream, books, CHAT, messages=messages, max_tokens=1)

    # 1600 at least, for a thousand tokens of it.
    assert 1_600 <= amount / 10_000 <= 1_700


async def test_spoken_answers_are_held_for(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    fields = {"modalities": ["text", "audio"], "max_tokens": 1_000}
    amount = await held(gateway, upstream, books, CHAT, **fields)
    assert 20_000 <= amount / 1_000 <= 20_100


@pytest.mark.parametrize(("tier", "rate"), [("auto", 3), ("default", 1), ("priority", 3)])
async def test_the_dearest_possible_tier_is_held_for(
    gateway: Client, upstream: Upstream, books: Books, tier: str, rate: int
) -> None:
    fields = {"service_tier": tier, "max_tokens": 1_000}
    amount = await held(gateway, upstream, books, CHAT, **fields)
    assert 1_000 <= amount / 1_000 / rate <= 1_100


@pytest.mark.parametrize(("speed", "rate"), [("standard", 1.1), ("fast", 2.2)])
async def test_possible_surcharges_are_held_for(
    gateway: Client, upstream: Upstream, books: Books, speed: str, rate: float
) -> None:
    fields = {"speed": speed, "max_tokens": 1_000}
    amount = await held(gateway, upstream, books, MESSAGES, **fields)
    assert 1_000 <= amount / 1_000 / rate <= 1_100


@pytest.mark.parametrize("limit", [-1, 0])
async def test_an_invalid_output_limit_is_held_for_as_the_default(
    gateway: Client, upstream: Upstream, books: Books, limit: int
) -> None:
    """Some servers that people run themselves take -1 for as much as the model can."""
    amount = await held(gateway, upstream, books, CHAT, max_tokens=limit)
    assert 4_096 <= amount / 1_000 <= 4_200
