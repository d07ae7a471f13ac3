"""`GET /v1/budget`: a key holder can look."""

import asyncio
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.domain.periods import period_end, period_key, zone_of
from libs.common.schemas.account import Budget, Limits
from libs.common.schemas.holds import Spent
from libs.common.settings import Secret
from tests.servers import HOST, free_port
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.stage import Client, bearer, open_gateway
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books, zone_by_day
from tests.support.polling import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOTAL = Budget(limit_nusd=2**53 - 1, period="total", soft_limit_nusd=1)
DAILY = Budget(limit_nusd=1_000_000_000, period="daily")
LIMITS = Limits(requests_per_minute=10, tokens_per_minute=10_000, parallel_calls=3)
NO_LIMITS = {"requests_per_minute": None, "tokens_per_minute": None, "parallel_calls": None}


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


async def look(client: Client, secret: str) -> Any:
    answer = await client.http.get("/v1/budget", headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    return exact(answer.text)


async def limited(books: Books, zone: str = "UTC") -> str:
    """A key of a limited account, and with a budget of its own."""
    user_id = await books.add_account(time_zone=zone, limits=LIMITS)
    await books.accounts.update(
        user_id, {"budgets": msgspec.to_builtins([TOTAL, DAILY])}, datetime.now().astimezone()
    )
    return await books.add_key(user_id, budgets=(DAILY,), limits=Limits(parallel_calls=2))


async def test_the_budget_shows_spent_held_and_remaining_amounts(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    zone = zone_by_day()
    secret = await limited(books, zone)
    user_id, now = await books.user_of(secret), datetime.now().astimezone()
    today = period_key("daily", now, zone_of(zone))
    ends_at = period_end("daily", now, zone_of(zone))
    assert ends_at is not None
    await books.holds.seed(
        user_id, [Spent(period="total", nusd=3_000_000_001), Spent(period=today, nusd=70)]
    )
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        started.set()
        await go_on.wait()
        await connection.answer(CHAT.answer)

    upstream.does(waits)
    call = asyncio.create_task(gateway.post(CHAT.path, secret, CHAT.body()))
    await asyncio.wait_for(started.wait(), PATIENCE_S)
    held = await books.held(secret)
    view = await look(gateway, secret)
    go_on.set()
    await call

    assert held > 0
    account, key = view["account"], view["key"]
    assert (account["user_id"], account["time_zone"], key["name"]) == (user_id, zone, "laptop")
    held_usd = Decimal(held).scaleb(-9)
    day = {
        "period": "daily",
        "current": today,
        "ends_at": ends_at.isoformat().replace("+00:00", "Z"),
        "limit_usd": 1,
        "soft_limit_usd": None,
        "held_usd": held_usd,
    }
    assert account["budgets"] == [
        {
            "period": "total",
            "current": "total",
            "ends_at": None,
            "limit_usd": Decimal("9007199.254740991"),
            "soft_limit_usd": Decimal("1E-9"),
            "spent_usd": Decimal("3.000000001"),
            "held_usd": held_usd,
            "remaining_usd": Decimal("9007196.254740990") - held_usd,
        },
        {
            **day,
            "spent_usd": Decimal("7E-8"),
            "remaining_usd": 1 - Decimal("7E-8") - held_usd,
        },
    ]
    assert key["budgets"] == [{**day, "spent_usd": 0, "remaining_usd": 1 - held_usd}]
    assert account["limits"]["requests_per_minute"].items() >= {"limit": 10, "remaining": 9}.items()
    assert 50 < account["limits"]["requests_per_minute"]["reset_s"] <= 60
    assert 0 < account["limits"]["tokens_per_minute"]["remaining"] < 10_000
    assert account["limits"]["parallel_calls"] == {"limit": 3, "remaining": 2, "reset_s": None}
    assert key["limits"] == {
        **NO_LIMITS,
        "parallel_calls": {"limit": 2, "remaining": 1, "reset_s": None},
    }


async def test_any_credential_header_is_accepted(gateway: Client, books: Books) -> None:
    secret = await books.add_key()
    for headers in (bearer(secret), {"x-api-key": secret}, {"api-key": secret}):
        answer = await gateway.http.get("/v1/budget", headers=headers)
        assert answer.status_code == 200
        assert answer.json()["account"]["budgets"] == answer.json()["key"]["budgets"] == []
        assert answer.json()["key"]["limits"] == NO_LIMITS


async def test_the_budget_needs_a_key_that_may_call(gateway: Client, books: Books) -> None:
    suspended = await books.add_key(await books.add_account(status="suspended"))
    for secret, status in ((None, 401), ("sk-gw-unknown", 401), (suspended, 403)):
        answer = await gateway.http.get("/v1/budget", headers=bearer(secret))
        assert answer.status_code == status
    response = await gateway.http.post("/v1/budget", headers=bearer(await books.add_key()))
    assert response.status_code == 405


async def test_reading_the_budget_leaves_no_event_and_no_hold(
    gateway: Client, books: Books
) -> None:
    secret = await limited(books)
    await look(gateway, secret)
    assert await books.events(secret) == []
    assert await books.held(secret) == 0


async def test_without_redis_what_is_spent_is_shown(
    settings_with: SettingsWith, books: Books
) -> None:
    secret = await limited(books)
    user_id = await books.user_of(secret)
    await books.database["accounts"].update_one({"_id": user_id}, {"$set": {"spend": {"total": 5}}})
    away = settings_with(redis_url=Secret(f"redis://{HOST}:{free_port()}/0"))
    async with open_gateway(away) as gateway:
        view = await look(gateway, secret)
    total = view["account"]["budgets"][0]
    assert (total["spent_usd"], total["held_usd"], total["remaining_usd"]) == (
        Decimal("5E-9"),
        None,
        None,
    )
    assert view["key"]["budgets"][0]["spent_usd"] == 0
    assert view["account"]["limits"]["parallel_calls"]["remaining"] is None
