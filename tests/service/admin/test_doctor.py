"""`/admin/doctor` on real servers, as the service's own user and without some of them."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.replicas import ReplicaStore, about, report_replica
from libs.common.web.http_client import HttpAnswer
from services.admin.clock import utc_now
from services.admin.settings import Settings
from tests.service.admin.conftest import app_with, client_of
from tests.users import as_user


async def examine(admin: httpx2.AsyncClient) -> dict[tuple[str, str], dict[str, Any]]:
    answer = await admin.get("/admin/doctor")
    assert answer.status_code == 200, answer.text
    return {(each["area"], each["check"]): each for each in answer.json()["findings"]}


class Gateway:
    """Answers for the gateway; `statuses` by the model that is asked for."""

    def __init__(self, statuses: dict[str, int]) -> None:
        self.statuses = statuses
        self.paths: list[str] = []

    async def get(self, _path: str) -> HttpAnswer:
        return HttpAnswer(status=200, headers={}, body=b"{}")

    async def post(self, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Any:
        self.paths.append(path)
        status = self.statuses[json.loads(body)["model"]]
        message = {"error": {"message": "wrong key"}} if status != 200 else {"input_tokens": 3}
        return HttpAnswer(status=status, headers={}, body=json.dumps(message).encode())


async def test_real_servers_are_looked_at(
    settings: Settings, mongo_uri: str, database: Database, redis: Redis
) -> None:
    async with open_database(as_user(mongo_uri, "admin")) as own:
        app = app_with(settings, own, redis, utc_now)
        async with client_of(app, gateway=Gateway({})) as admin:
            findings = await examine(admin)
    checks = {check for check, each in findings.items() if each["verdict"] != "unknown"}
    assert {
        ("mongodb", "replica set"), ("mongodb", "clock"), ("mongodb", "indexes"),
        ("redis", "persistence"), ("redis", "eviction"), ("redis", "clock"),
        ("ledger", "queue"), ("gateway", "answers"), ("prices", "imports"),
    } <= checks  # fmt: skip
    assert findings["mongodb", "indexes"]["verdict"] == "ok"
    # No process reports here.
    assert findings["ledger_worker", "replicas"]["verdict"] == "fail"


async def test_a_missing_index_is_named(admin: httpx2.AsyncClient, database: Database) -> None:
    await database["keys"].drop_indexes()
    finding = (await examine(admin))["mongodb", "indexes"]
    assert finding["verdict"] == "fail"
    assert "keys: " in finding["reason"]


async def test_an_unreachable_redis_is_a_finding(settings: Settings, database: Database) -> None:
    async with open_redis("redis://127.0.0.1:1/0") as nowhere:
        app = app_with(settings, database, nowhere)
        async with client_of(app, gateway=Gateway({})) as admin:
            findings = await examine(admin)
    assert findings["redis", "answers"]["verdict"] == "fail"
    assert findings["ledger", "queue"]["verdict"] == "unknown"
    assert findings["gateway", "replicas"]["verdict"] == "unknown"
    assert findings["mongodb", "replica set"]["verdict"] == "ok"


async def test_replicas_report_until_they_end(redis: Redis) -> None:
    store, noted = ReplicaStore(redis), asyncio.Event()

    async def sleep(_: float) -> None:
        noted.set()
        await asyncio.Event().wait()

    note = about("gateway", "a:8000", 1.5)
    task = asyncio.create_task(report_replica(store, lambda: note, sleep=sleep))
    await noted.wait()
    [found] = await store.all()
    assert (found.name, found.started_ms) == ("a:8000", 1500)
    assert abs(found.ahead_ms) < 60_000
    task.cancel()
    await asyncio.wait({task})
    assert await store.all() == []


async def test_expired_and_unreadable_notes_are_removed(redis: Redis) -> None:
    await redis.hset("gateway:replicas", "x|y", b"\xc1")  # type: ignore[misc, arg-type]
    old = msgspec.structs.replace(about("gateway", "gone", 0), noted_ms=1)
    await redis.hset("gateway:replicas", "gateway|gone", msgspec.msgpack.encode(old))  # type: ignore[misc, arg-type]
    store = ReplicaStore(redis)
    assert [note.name for note in await store.all()] == ["gone"]
    await store.put(about("gateway", "new", 0))
    assert [note.name for note in await store.all()] == ["new"]
    assert await redis.hlen("gateway:replicas") == 1  # type: ignore[misc]


async def test_each_provider_counts_once(app: Starlette, database: Database) -> None:
    gateway = Gateway({"good": 200, "bad": 401})
    async with client_of(app, gateway=gateway) as admin:
        answer = await admin.post("/admin/doctor/providers")
        assert [each["check"] for each in answer.json()["findings"]] == ["asked"]
        routes = {
            "good": [
                "anthropic/claude-sonnet-4-5",
                "anthropic/claude-haiku-4-5",
                "gemini/gemini-2.5-flash",
            ],
            "bad": ["openai/gpt-4o"],
        }
        for model, names in routes.items():
            deployments = [{"model": name} for name in names]
            created = await admin.post(
                "/admin/models", json={"model": model, "deployments": deployments}
            )
            assert created.status_code == 201, created.text
        answer = await admin.post("/admin/doctor/providers")
    findings = {each["check"]: each for each in answer.json()["findings"]}
    assert {check: each["verdict"] for check, each in findings.items()} == {
        "anthropic/claude-sonnet-4-5 of good": "ok",
        "gemini/gemini-2.5-flash of good": "unknown",
        "openai/gpt-4o of bad": "fail",
    }
    assert "401: wrong key" in findings["openai/gpt-4o of bad"]["reason"]
    assert sorted(gateway.paths) == ["/v1/messages/count_tokens", "/v1/responses/input_tokens"]
    # Nobody can go on with the key.
    assert await database["keys"].count_documents({"status": "active"}) == 0
