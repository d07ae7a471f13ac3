"""`/admin/ledger/dead-letters`: what could not be posted is shown, and put back on the queue."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.queue.event_queue import encode_event
from libs.common.storage.queue.replay import clear_posted
from libs.common.storage.redis.client import Redis
from tests.service.admin.test_accounts import exact
from tests.service.ledger_worker.worker_stage import (
    Stage,
    altered,
    make_event,
    settings_for,
    working,
)

PATH = "/admin/ledger/dead-letters"


@pytest.fixture
async def stage(
    database: Database, redis: Redis, mongo_uri: str, redis_url: str
) -> AsyncIterator[Stage]:
    stage = Stage(database, redis)
    await stage.prepare()
    async with working(stage, settings_for(mongo_uri, redis_url)):
        yield stage


async def test_letters_are_shown_with_their_contents(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    event = make_event("carol")
    await stage.enqueue_raws(encode_event(event), altered(make_event(), v=99))
    await stage.enqueue_payload(b"\xc1 damaged")
    await stage.drained()
    answer = exact(await admin.get(PATH))
    assert (answer["count"], len(answer["data"]), answer["next_cursor"]) == (3, 3, None)
    letters = {row["reason"]: row for row in answer["data"]}
    unknown = letters["there is no account 'carol'"]
    assert (unknown["kind"], unknown["call_id"], unknown["times"]) == ("event", event.call_id, 1)
    assert unknown["content"]["usage"]["input_text"] == 1000
    assert letters["version 99 is unknown"]["content"]["v"] == 99
    [damaged] = [row for row in answer["data"] if row["kind"] == "batch"]
    assert (damaged["content"], damaged["size"], damaged["cut_off"]) == (None, 9, False)
    first = exact(await admin.get(PATH, params={"limit": 2}))
    rest = exact(await admin.get(PATH, params={"limit": 2, "cursor": first["next_cursor"]}))
    assert [*first["data"], *rest["data"]] == answer["data"]
    metrics = (await admin.get("/metrics")).text
    assert "admin_dead_letters 3.0" in metrics


async def test_a_replayed_letter_is_deleted_once_its_entry_is_posted(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    await stage.enqueue([make_event("carol"), make_event("carol")])
    await stage.drained()
    await stage.add_account("carol")
    first, second = [row["letter_id"] for row in exact(await admin.get(PATH))["data"]]
    answer = await admin.post(f"{PATH}/replay", json={"ids": [first]})
    assert answer.status_code == 202
    assert exact(answer) == {"replayed": 1, "cut_off": 0, "remaining": 1}
    await stage.drained()
    await stage.assert_exact("carol", 1)
    [replayed] = exact(await admin.get(PATH, params={"state": "replayed"}))["data"]
    assert (replayed["letter_id"], replayed["replayed_at"]) == (first, "2026-11-24T12:00:00Z")
    [waiting] = exact(await admin.get(PATH))["data"]
    assert waiting["letter_id"] == second

    answer = await admin.post(f"{PATH}/replay", json={"all": True})
    assert exact(answer) == {"replayed": 1, "cut_off": 0, "remaining": 0}
    await stage.drained()
    await stage.assert_exact("carol", 2)
    assert await clear_posted(stage.dead_letters, stage.entries) == 2


async def test_a_letter_that_fails_again_is_kept(admin: httpx2.AsyncClient, stage: Stage) -> None:
    await stage.enqueue([make_event("carol")])
    await stage.drained()
    for times in (1, 2, 3):
        [letter] = exact(await admin.get(PATH))["data"]
        assert (letter["times"], letter["replayed_at"]) == (times, None)
        await admin.post(f"{PATH}/replay", json={"all": True})
        await stage.drained()


@pytest.mark.usefixtures("stage")
async def test_an_invalid_request_is_rejected(admin: httpx2.AsyncClient) -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"all": False},
        {"ids": ["x"], "all": True},
        {"ids": []},
        {"surprise": 1},
    ]
    for body in bodies:
        assert (await admin.post(f"{PATH}/replay", json=body)).status_code == 422
    unknown = await admin.post(f"{PATH}/replay", json={"ids": ["unknown"]})
    assert unknown.status_code == 404
    assert (await admin.get(PATH, params={"state": "invented"})).status_code == 422
