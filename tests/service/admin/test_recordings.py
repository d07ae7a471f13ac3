"""`/admin/recordings`, and the setting of keys that makes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from libs.common.domain.ids import uuid7
from libs.common.schemas.recording import Recording, Transcript
from libs.common.storage.mongo.driver import Database, to_document
from libs.common.storage.queue.recordings import RecordingStore
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.shared_cache import cached_item_key
from tests.service.admin.conftest import NOW
from tests.service.admin.problems import wrong_fields
from tests.unit.builders import entry

HOUR = timedelta(hours=1)
# The database removes what has expired by its own clock, not by the app's.
FAR_AHEAD = datetime(2500, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})


def recording(at: datetime, user_id: str = "a", key_id: str = "key-1", n: int = 0) -> Recording:
    return Recording(
        call_id=uuid7(int(at.timestamp() * 1000), bytes([n] * 10)),
        user_id=user_id,
        key_id=key_id,
        format="chat",
        model="gpt-4o",
        started_at=at,
        stream=True,
        http_status=200,
        request=Transcript(text='{"messages": []}', size=16),
        answer=Transcript(text="data: [DONE]", size=500, truncated=True),
        expires_at=FAR_AHEAD,
    )


async def store(database: Database, *recordings: Recording) -> list[str]:
    await RecordingStore(database).add(recordings)
    return [row.call_id for row in recordings]


async def call_ids(admin: httpx2.AsyncClient, **params: Any) -> list[str]:
    answer = await admin.get("/admin/recordings", params=params)
    assert answer.status_code == 200, answer.text
    return [row["call_id"] for row in answer.json()["data"]]


async def test_a_key_shows_whether_it_records(
    admin: httpx2.AsyncClient, database: Database, redis: Redis
) -> None:
    key = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    assert key["recording"] is None
    path = f"/admin/keys/{key['key_id']}"
    document = await database["keys"].find_one({})
    assert document is not None
    cache_key = cached_item_key("key", document["secret_hash"])
    for setting in ({"retention_days": 365}, {"retention_days": 1}, None):
        await redis.set(cache_key, b"what a gateway knew")
        changed = await admin.patch(path, json={"recording": setting})
        assert changed.status_code == 200
        assert changed.json()["recording"] == setting
        assert (await admin.get(path)).json()["recording"] == setting
        # Gateways forget the key as it was.
        assert await redis.get(cache_key) != b"what a gateway knew"
    answer = await admin.post(
        "/admin/keys", json={"user_id": "a", "recording": {"retention_days": 7}}
    )
    assert answer.json()["recording"] == {"retention_days": 7}


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"retention_days": 0}, "recording.retention_days"),
        ({"retention_days": 366}, "recording.retention_days"),
        ({"retention_days": "7"}, "recording.retention_days"),
        ({}, "recording.retention_days"),
        ({"retention_days": 7, "more": 1}, "recording.more"),
        (True, "recording"),
    ],
)
async def test_an_invalid_setting_is_named(
    admin: httpx2.AsyncClient, setting: Any, field: str
) -> None:
    for answer in (
        await admin.post("/admin/keys", json={"user_id": "a", "recording": setting}),
        await admin.patch("/admin/keys/unknown", json={"recording": setting}),
    ):
        assert answer.status_code == 422
        assert set(wrong_fields(answer)) == {field}


async def test_a_recording_is_shown(admin: httpx2.AsyncClient, database: Database) -> None:
    row = recording(NOW)
    (call_id,) = await store(database, row)
    view = await admin.get(f"/admin/recordings/{call_id}")
    assert view.status_code == 200
    assert view.json() == {
        "v": 1,
        "call_id": call_id,
        "user_id": "a",
        "key_id": "key-1",
        "format": "chat",
        "model": "gpt-4o",
        "started_at": "2026-11-24T12:00:00Z",
        "stream": True,
        "http_status": 200,
        "request": {"text": '{"messages": []}', "size": 16, "truncated": False},
        "answer": {"text": "data: [DONE]", "size": 500, "truncated": True},
        "expires_at": "2500-01-01T00:00:00Z",
    }
    for answer in (
        await admin.get("/admin/recordings/unknown"),
        await admin.delete("/admin/recordings/unknown"),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    assert (await admin.get(f"/admin/recordings/{call_id}?x=1")).status_code == 422


async def test_lists_are_bounded_and_omit_the_texts(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    rows = [recording(NOW - n * HOUR) for n in range(5)]
    ids = await store(database, *rows)
    first = (await admin.get("/admin/recordings", params={"limit": 2})).json()
    assert [row["call_id"] for row in first["data"]] == ids[:2]
    assert first["data"][0]["answer"] == {"size": 500, "truncated": True}
    assert "messages" not in str(first)
    assert await call_ids(admin, limit=200, cursor=first["next_cursor"]) == ids[2:]
    assert (await admin.get("/admin/recordings?limit=201")).status_code == 422


async def test_lists_are_filtered_by_account_key_and_time(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    a1, a2, b1 = await store(
        database,
        recording(NOW),
        recording(NOW - HOUR, key_id="key-2"),
        recording(NOW - 2 * HOUR, user_id="b", key_id="key-3"),
    )
    assert await call_ids(admin, user_id="a") == [a1, a2]
    assert await call_ids(admin, user_id="a", key_id="key-2") == [a2]
    assert await call_ids(admin, key_id="key-3") == [b1]
    at = NOW.isoformat()
    an_hour_ago = (NOW - HOUR).isoformat()
    assert await call_ids(admin, since=an_hour_ago) == [a1, a2]
    assert await call_ids(admin, since=an_hour_ago, until=at) == [a2]
    assert await call_ids(admin, until=an_hour_ago) == [b1]
    pages = []
    for ends in ({"until": at}, {}):
        first = (await admin.get("/admin/recordings", params={"limit": 1, **ends})).json()
        pages.append(first["next_cursor"])
    assert await call_ids(admin, until=at, cursor=pages[0]) == [b1]
    assert await call_ids(admin, until=an_hour_ago, cursor=pages[1]) == [b1]
    wrong = await admin.get("/admin/recordings", params={"since": at, "until": at})
    assert set(wrong_fields(wrong)) == {"until"}


async def test_a_recording_is_deleted(admin: httpx2.AsyncClient, database: Database) -> None:
    kept, gone = await store(database, recording(NOW), recording(NOW - HOUR))
    assert (await admin.delete(f"/admin/recordings/{gone}")).status_code == 204
    assert (await admin.delete(f"/admin/recordings/{gone}")).status_code == 404
    assert await call_ids(admin) == [kept]


async def test_the_recordings_of_an_account_are_deleted(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await store(database, *(recording(NOW + n * HOUR / 3600) for n in range(1_005)))
    (other,) = await store(database, recording(NOW - HOUR, user_id="b"))
    for missing in ("", "?key_id=key-1", "?user_id="):
        refused = await admin.delete(f"/admin/recordings{missing}")
        assert refused.status_code == 422
    assert await database["recordings"].count_documents({}) == 1_006
    answer = await admin.delete("/admin/recordings", params={"user_id": "a"})
    assert answer.json() == {"deleted": 1_005, "more": False}
    assert await call_ids(admin) == [other]
    again = await admin.delete("/admin/recordings", params={"user_id": "a"})
    assert again.json() == {"deleted": 0, "more": False}


async def test_an_entry_shows_whether_it_is_recorded(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    (call_id,) = await store(database, recording(NOW))
    for entry_id, recorded in ((call_id, True), ("call-2", False)):
        row = entry(entry_id, user_id="a")
        await database["entries"].insert_one(to_document(row, key="entry_id"))
        view = (await admin.get(f"/admin/ledger/entries/{entry_id}")).json()
        assert view["recorded"] is recorded


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", "?user_id=a"), ("GET", "/x")])
async def test_recordings_need_the_admin_key(
    admin: httpx2.AsyncClient, method: str, path: str
) -> None:
    answer = await admin.request(
        method, f"/admin/recordings{path}", headers={"authorization": "Bearer wrong"}
    )
    assert answer.status_code == 401
