"""`/admin/ledger/health` and the page of it: what waits, what was proved, what is away."""

import re
from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.domain.checkpoints import Checkpoint, Seal
from libs.common.storage.mongo.dead_letters import DeadLetterStore, new_letter
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.proofs import Progress, ProofStore
from libs.common.storage.queue.event_queue import QUEUE, enqueue_batch, queues_of
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.shards import ONE
from libs.common.storage.redis.spool_notes import SpoolNote, SpoolNoteStore
from services.admin.settings import Settings
from tests.servers import free_port
from tests.service.admin.conftest import NOW, app_with, client_of
from tests.service.admin.console import browser_of, forms_of
from tests.service.admin.test_console import make

PATH = "/admin/ledger/health"
NOW_MS = round(NOW.timestamp() * 1000)


async def test_nothing_waits_in_a_new_ledger(admin: httpx2.AsyncClient) -> None:
    assert (await admin.get(PATH)).json() == {
        "redis": "up",
        "queue": {"jobs": 0, "oldest_at": None, "shards_away": 0},
        "spools": [],
        "dead_letters": 0,
        "proof": {
            "ok": None,
            "last_success_at": None,
            "proved_until": None,
            "accounts": 0,
            "sealed_accounts": 0,
        },
    }


@pytest.fixture
async def behind(admin: httpx2.AsyncClient, database: Database, redis: Redis) -> None:
    """Two jobs, a spool that has records, one of an earlier release, and a proof of one account."""
    for user_id in ("a", "b"):
        await make(admin, "accounts", user_id=user_id)
    async with redis.pipeline(transaction=True) as pipeline:
        for number in range(2):
            enqueue_batch(pipeline, queues_of(ONE)[0], f"job-{number}", b"\x90")
        await pipeline.execute()
    notes = SpoolNoteStore(redis)
    await notes.put(
        SpoolNote(gateway="gw-1", since_ms=NOW_MS - 60_000, noted_ms=NOW_MS - 500, bytes=8_192)
    )
    await notes.put(SpoolNote(gateway="gw-<old>", since_ms=NOW_MS - 90_000, until_ms=NOW_MS))
    proofs = ProofStore(database)
    await proofs.save([Seal(checkpoint=Checkpoint(user_id="a", seq=3))])
    await proofs.save_progress(
        Progress(after="a", ok=True, last_success_at=NOW - timedelta(minutes=4))
    )


@pytest.mark.usefixtures("behind")
async def test_health_shows_the_queue_and_the_proof(admin: httpx2.AsyncClient) -> None:
    health = (await admin.get(PATH)).json()
    assert health["queue"]["jobs"] == 2
    assert health["queue"]["oldest_at"] is not None
    first, old = sorted(health["spools"], key=lambda spool: str(spool["gateway"]))
    assert (first["since"], first["until"]) == ("2026-11-24T11:59:00Z", None)
    assert (first["noted_at"], first["size"]) == ("2026-11-24T11:59:59.500000Z", 8192)
    assert (old["until"], old["noted_at"], old["size"]) == ("2026-11-24T12:00:00Z", None, None)
    assert health["proof"] == {
        "ok": True,
        "last_success_at": "2026-11-24T11:56:00Z",
        "proved_until": "a",
        "accounts": 2,
        "sealed_accounts": 1,
    }
    uncounted = (await admin.get(PATH, params={"counts": "false"})).json()["proof"]
    assert uncounted == health["proof"] | {"accounts": None, "sealed_accounts": None}


@pytest.mark.usefixtures("behind")
async def test_the_page_shows_it(app: Starlette) -> None:
    async with browser_of(app) as browser:
        page = (await browser.get("/console/ledger")).text
    assert "2 jobs wait or run" in page
    assert "waits still" in page
    assert "8 kB" in page
    assert "gw-&lt;old&gt;" in page
    assert "1 of 2 accounts" in page
    assert re.search(r"all accounts proved 4 minutes ago", page)


async def test_without_redis_it_says_so_and_what_still_holds(
    settings: Settings, database: Database
) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        client_of(app_with(settings, database, away)) as admin,
    ):
        health = (await admin.get(PATH)).json()
    assert (health["redis"], health["queue"], health["spools"]) == ("down", None, None)
    assert health["proof"]["accounts"] == 0


async def test_one_letter_is_replayed_and_the_others_wait(
    app: Starlette, admin: httpx2.AsyncClient, database: Database, redis: Redis
) -> None:
    letters = DeadLetterStore(database)
    for number, raw in enumerate((b"\x81\xa1a\x01", b"\xc1 <b>damaged")):
        reason = f"it cannot be read ({number})"
        await letters.add(new_letter("batch", raw, reason=reason, job_id="job", buried_at=NOW))
    first, second = (await admin.get("/admin/ledger/dead-letters")).json()["data"]
    async with browser_of(app) as browser:
        page = await browser.get("/console/ledger")
        assert first["letter_id"] in page.text
        csrf = forms_of(page)["/console/ledger/replay"]["csrf"]
        form = {"csrf": csrf, "letter_id": first["letter_id"]}
        redirect = await browser.post("/console/ledger/replay", data=form)
        assert redirect.headers["location"] == "/console/ledger?state=replayed"
        replayed = await browser.get(redirect.headers["location"])
        assert first["letter_id"] in replayed.text
        assert second["letter_id"] not in replayed.text
        assert "/console/ledger/replay" not in forms_of(replayed)
    assert (await admin.get("/admin/ledger/dead-letters")).json()["count"] == 1
    assert await redis.zcard(QUEUE) == 1
