"""`GET /v1/usage`: a key holder sees what the key used, and nobody else's."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.ids import uuid7
from libs.common.domain.periods import period_keys, zone_of
from libs.common.errors import Unavailable
from libs.common.schemas.account import Budget
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.mongo.driver import open_database
from libs.common.storage.mongo.ledger import LedgerStore
from services.gateway.calls.principal import Principal
from services.gateway.directory.key_usage import KeyUsage
from tests.servers import HOST, free_port
from tests.service.gateway.stage import Client, bearer
from tests.service.gateway.test_own_budget import exact
from tests.support.books import Books, zone_by_day
from tests.unit.builders import account, api_key, entry

pytestmark = pytest.mark.asyncio(loop_scope="module")

USAGE = TokenUsage(input_text=10, output_text=3)


async def look(gateway: Client, secret: str) -> Any:
    answer = await gateway.http.get("/v1/usage", headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    return exact(answer.text)


class Posted:
    """Posts calls of one key."""

    def __init__(self, books: Books, look: Any, zone: str) -> None:
        self._ledger = LedgerStore(books.database)
        self._user_id, self._key_id = look["account"]["user_id"], look["key"]["key_id"]
        self._zone = zone
        self._calls = 0

    async def call(self, at: datetime, cost_nusd: int, **fields: Any) -> LedgerEntry:
        self._calls += 1
        call_entry = entry(
            uuid7(int(at.timestamp() * 1000), f"{self._key_id}{self._calls}".encode()[-10:]),
            user_id=self._user_id,
            key_id=self._key_id,
            started_at=at,
            time_zone=self._zone,
            periods=period_keys(at, zone_of(self._zone)),
            cost_nusd=cost_nusd,
            usage=USAGE,
            **fields,
        )
        await self._ledger.post([call_entry])
        return call_entry


async def test_usage_of_a_key_is_grouped_by_day_and_model(gateway: Client, books: Books) -> None:
    zone = zone_by_day()
    user_id = await books.add_account(time_zone=zone)
    budget = Budget(limit_nusd=10**9, period="daily")
    secrets = [await books.add_key(user_id, budgets=(budget,)) for _ in range(2)]
    stranger = await books.add_key()
    posted = [
        Posted(books, (await gateway.http.get("/v1/budget", headers=bearer(s))).json(), zone)
        for s in (*secrets, stranger)
    ]
    now = datetime.now(UTC).replace(microsecond=0)
    mine, sibling, other = posted
    await mine.call(now, 5, requested_model="house/best")
    await mine.call(now - timedelta(days=1), 7)
    await mine.call(now - timedelta(days=1), 2, requested_model="house/best")
    await mine.call(now - timedelta(days=40), 1_000)
    await sibling.call(now, 10_000)
    await other.call(now, 100_000)

    view = await look(gateway, secrets[0])

    def day(days: int) -> str:
        return (now - timedelta(days=days)).astimezone(zone_of(zone)).date().isoformat()

    usage = view["usage"]
    assert (usage["since"], usage["until"]) == (day(29), day(0))
    assert usage["total"] == {
        "cost_usd": Decimal("14E-9"),
        "calls": 3,
        "tokens": {"input_text": 30, "output_text": 9},
    }
    rows = [(row["day"], row["cost_usd"], row["calls"]) for row in usage["days"]]
    assert rows == [(day(1), Decimal("9E-9"), 2), (day(0), Decimal("5E-9"), 1)]
    rows = [(row["model"], row["cost_usd"], row["calls"]) for row in usage["models"]]
    assert rows == [("gpt-4o", Decimal("7E-9"), 1), ("house/best", Decimal("7E-9"), 2)]
    own = (await gateway.http.get("/v1/budget", headers=bearer(secrets[0]))).json()
    assert view["key"]["budgets"][0]["limit_usd"] == 1
    assert {name: view[name].keys() for name in own} == {name: own[name].keys() for name in own}


async def test_a_key_that_used_nothing(gateway: Client, books: Books) -> None:
    usage = (await look(gateway, await books.add_key()))["usage"]
    assert usage["total"] == {"cost_usd": 0, "calls": 0, "tokens": {}}
    assert usage["days"] == usage["models"] == []


async def test_looking_needs_a_key_that_may_call_and_counts_as_no_call(
    gateway: Client, books: Books
) -> None:
    suspended = await books.add_key(await books.add_account(status="suspended"))
    for secret, status in ((None, 401), ("sk-gw-unknown", 401), (suspended, 403)):
        answer = await gateway.http.get("/v1/usage", headers=bearer(secret))
        assert answer.status_code == status
        assert answer.json()["error"].keys() >= {"message", "type", "code"}
    secret = await books.add_key()
    response = await gateway.http.post("/v1/usage", headers=bearer(secret))
    assert response.status_code == 405
    await look(gateway, secret)
    assert await books.events(secret) == []


@pytest.mark.parametrize(("ttl_s", "calls"), [(3600.0, 1), (0.0, 2)])
async def test_usage_of_a_key_is_cached_until_expiry(
    gateway: Client, books: Books, ttl_s: float, calls: int
) -> None:
    secret = await books.add_key()
    view = (await gateway.http.get("/v1/budget", headers=bearer(secret))).json()
    posted, now = Posted(books, view, "UTC"), datetime.now(UTC).replace(microsecond=0)
    user_id = view["account"]["user_id"]
    principal = Principal(
        key=api_key(view["key"]["key_id"], user_id=user_id), account=account(user_id)
    )
    key_usage = KeyUsage(books.database, ttl_s=ttl_s)
    await posted.call(now, 5)
    looks = [key_usage.of(principal, now) for _ in range(20)]
    assert {usage.total.calls for usage in await asyncio.gather(*looks)} == {1}
    await posted.call(now, 5)
    assert (await key_usage.of(principal, now)).total.calls == calls


async def test_without_mongodb_it_says_so() -> None:
    async with open_database(f"mongodb://{HOST}:{free_port()}/none") as away:
        principal = Principal(key=api_key(), account=account())
        with pytest.raises(Unavailable, match="cannot read the key's usage"):
            await KeyUsage(away).of(principal, datetime.now(UTC))
