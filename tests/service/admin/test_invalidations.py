"""Each write tells the gateways what to forget."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fakeredis import FakeAsyncRedis
from redis.exceptions import ConnectionError as ConnectionLost

from libs.common.domain.ids import secret_hash
from libs.common.schemas.invalidation import Invalidation
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.invalidation import listen
from services.admin.announcer import Announcer
from services.admin.metrics import Metrics
from services.admin.settings import Settings
from tests.fake_redis import FakeConnection
from tests.servers import redis_server, running
from tests.service.admin.conftest import app_with, client_of
from tests.service.admin.price_maps import row

PRICE = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 1}
ROUTE = {"model": "house/m", "deployments": [{"model": "openai/gpt-4o"}]}


@pytest.fixture
async def inbox(redis: Redis) -> AsyncIterator["asyncio.Queue[Invalidation]"]:
    """What a gateway that listens is told."""
    queue: asyncio.Queue[Invalidation] = asyncio.Queue()
    subscribed = asyncio.Event()
    listener = asyncio.create_task(listen(redis, queue.put_nowait, subscribed.set))
    await asyncio.wait_for(subscribed.wait(), 10)
    yield queue
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)


async def take(inbox: "asyncio.Queue[Invalidation]") -> tuple[str, str]:
    message = await asyncio.wait_for(inbox.get(), 10)
    return message.kind, message.id


async def test_every_write_is_announced(
    admin: httpx2.AsyncClient, inbox: "asyncio.Queue[Invalidation]"
) -> None:
    account = await admin.post("/admin/accounts", json={"user_id": "a"})
    assert "x-invalidation" not in account.headers
    assert await take(inbox) == ("account", "a")
    await admin.patch("/admin/accounts/a", json={"status": "suspended"})
    assert await take(inbox) == ("account", "a")
    key = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    key_hash = secret_hash(key["api_key"])
    assert await take(inbox) == ("key", key_hash)
    await admin.patch(f"/admin/keys/{key['key_id']}", json={"status": "revoked"})
    assert await take(inbox) == ("key", key_hash)
    await admin.delete(f"/admin/keys/{key['api_key']}")
    assert await take(inbox) == ("key", key_hash)
    await admin.post("/admin/costs", json={**PRICE, "aliases": ["x", "y"]})
    assert [await take(inbox) for _ in range(3)] == [("price", "m"), ("price", "x"), ("price", "y")]
    price = (await admin.post("/admin/costs", json={**PRICE, "aliases": ["z"]})).json()
    # Who came by an alias that the new version lacks has to look again.
    messages = {await take(inbox) for _ in range(4)}
    assert messages == {("price", name) for name in ("m", "x", "y", "z")}
    await admin.delete(f"/admin/costs/{price['price_id']}")
    assert {await take(inbox) for _ in range(4)} == messages
    await admin.post("/admin/costs/import", json={"model": "gpt-4o", "dry_run": True})
    await admin.post("/admin/costs/import", json={"model": "gpt-4o", "dry_run": False})
    assert await take(inbox) == ("price", "gpt-4o")
    # Of many prices gateways hear once in a while, as they forget all of theirs each time.
    rows = {f"row-{n:02}": row() for n in range(30)}
    await admin.post("/admin/costs/import", json={"price_map": rows, "dry_run": False})
    assert [await take(inbox) for _ in range(2)] == [("price", "row-00"), ("price", "row-20")]
    await admin.post("/admin/costs", json={**PRICE, "model": "ft:m*"})
    # The versions with a pattern are cached together.
    assert [await take(inbox) for _ in range(2)] == [("price", "ft:m*"), ("price", "*")]
    await admin.post("/admin/models", json=ROUTE)
    assert await take(inbox) == ("route", "house/m")
    await admin.patch("/admin/models/house/m", json={"cooldown_s": 1})
    assert await take(inbox) == ("route", "house/m")
    await admin.delete("/admin/models/house/m")
    assert await take(inbox) == ("route", "house/m")


async def test_an_unchanged_document_is_not_announced(
    admin: httpx2.AsyncClient, inbox: "asyncio.Queue[Invalidation]"
) -> None:
    for answer in (
        await admin.post("/admin/accounts", json={"user_id": "{a}"}),
        await admin.patch("/admin/accounts/nobody", json={"name": "x"}),
        await admin.post("/admin/keys", json={"user_id": "nobody"}),
        await admin.delete("/admin/keys/key_0"),
        await admin.post("/admin/costs", json={}),
        await admin.delete("/admin/costs/price_0"),
        await admin.post("/admin/costs/import", json={"model": "unheard-of"}),
        await admin.post("/admin/models", json={"model": "m"}),
        await admin.patch("/admin/models/m", json={"cooldown_s": 1}),
        await admin.delete("/admin/models/m"),
        await admin.get("/admin/accounts"),
    ):
        assert answer.status_code in {200, 404, 422}
    await admin.post("/admin/accounts", json={"user_id": "last"})
    assert await take(inbox) == ("account", "last")


async def test_a_write_during_a_redis_outage_is_announced_after_it(
    settings: Settings, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(redis_server(tmp_path_factory.mktemp("redis"))) as server:
        async with (
            Redis.from_url(server.url) as redis,
            client_of(app_with(settings, database, redis)) as admin,
        ):
            answer = await admin.post("/admin/costs", json=PRICE)
            assert "x-invalidation" not in answer.headers
            server.kill()
            answer = await admin.post("/admin/costs", json=PRICE)
            assert answer.status_code == 201
            assert answer.headers["x-invalidation"] == "delayed"
            assert await database["prices"].count_documents({}) == 2
            server.start()
            answer = await admin.post("/admin/costs", json=PRICE)
            assert "x-invalidation" not in answer.headers


class DyingConnections(FakeAsyncRedis):
    """The first `deaths` commands find their connection dead."""

    deaths = 0

    async def publish(self, *args: Any, **kwargs: Any) -> int:
        if self.deaths:
            self.deaths -= 1
            raise ConnectionLost("Connection closed by server.")
        count: int = await super().publish(*args, **kwargs)
        return count


@pytest.mark.parametrize(("deaths", "headers"), [(2, {}), (3, {"x-invalidation": "delayed"})])
async def test_a_dead_connection_loses_no_message(deaths: int, headers: dict[str, str]) -> None:
    redis = DyingConnections(connection_class=FakeConnection)
    redis.deaths = deaths
    assert await Announcer(redis, Metrics()).announce("price", ["m"]) == headers
    await redis.aclose()
