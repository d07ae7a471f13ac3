"""The audit log: every write is in it, in one chain, and nothing that is secret."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from libs.common.domain.audit_chain import EMPTY, checked
from libs.common.errors import Unavailable
from libs.common.schemas.account import Account
from libs.common.schemas.audit import AuditRecord
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.audit import AuditStore
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.redis.client import Redis
from services.admin.audit.trail import AuditTrail
from services.admin.settings import Settings
from services.admin.wrong_keys import PER_SOURCE
from tests.service.admin.conftest import NOW, app_with, client_of
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_people import by, make_person

ACCOUNT = {"user_id": "a", "name": "A"}


async def rows(admin: httpx2.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    answer = await admin.get("/admin/audit", params=filters)
    assert answer.status_code == 200, answer.text
    assert answer.json()["next_cursor"] is None
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def verify(admin: httpx2.AsyncClient, **query: Any) -> dict[str, Any]:
    proof: dict[str, Any] = (await admin.get("/admin/audit/verify", params=query)).json()
    return proof


async def test_a_change_is_recorded_with_what_was_before_and_after(
    admin: httpx2.AsyncClient,
) -> None:
    ada = await make_person(admin, name="Ada", role="operator")
    created = await admin.post("/admin/accounts", json=ACCOUNT, headers=by(ada))
    changed = await admin.patch("/admin/accounts/a", json={"name": "B"}, headers=by(ada))
    second, first = await rows(admin, object="a", kind="accounts")
    assert (first["action"], first["before"], first["asked"]) == ("create_account", None, ACCOUNT)
    assert first["after"]["name"] == "A"
    assert (second["action"], second["asked"]) == ("change_account", {"name": "B"})
    assert (second["before"]["name"], second["after"]["name"]) == ("A", "B")
    for row, answer in ((first, created), (second, changed)):
        assert row["request_id"] == answer.headers["x-request-id"]
        assert (row["actor"], row["actor_name"], row["role"]) == (
            ada["person_id"],
            "Ada",
            "operator",
        )
        assert (row["outcome"], row["status"], row["code"]) == ("done", answer.status_code, None)
        assert row["address"] == "127.0.0.1"
        assert row["at"] == NOW.isoformat().replace("+00:00", "Z")
        assert "spend" not in row["after"]


async def test_concurrent_changes_record_the_state_they_replace(admin: httpx2.AsyncClient) -> None:
    """However many change it at the same time: each `before` is the `after` of another one."""
    await admin.post("/admin/accounts", json={"user_id": "a", "name": "first"})
    names = [f"name-{number}" for number in range(5)]
    answers = await asyncio.gather(
        *(admin.patch("/admin/accounts/a", json={"name": name}) for name in names)
    )
    accepted = [name for name, answer in zip(names, answers, strict=True) if answer.is_success]
    assert accepted
    changes = {
        row["before"]["name"]: row["after"]["name"]
        for row in await rows(admin, action="change_account")
        if row["outcome"] == "done"
    }
    name, chain = "first", list[str]()
    while name in changes:
        name = changes.pop(name)
        chain.append(name)
    assert sorted(chain) == sorted(accepted)
    assert (await admin.get("/admin/accounts/a")).json()["name"] == name


async def test_a_verb_is_about_its_object(admin: httpx2.AsyncClient) -> None:
    await admin.post("/admin/accounts", json=ACCOUNT)
    key = (await admin.post("/admin/keys", json={"user_id": "a", "name": "k"})).json()
    await admin.post(f"/admin/keys/{key['api_key']}/rotate", json={})
    (row,) = await rows(admin, action="rotate_key")
    assert (row["object"], row["before"]["prefix"]) == (key["key_id"], key["prefix"])
    assert row["after"]["prefix"] != key["prefix"]


async def test_changes_of_a_price_or_a_route_are_found_by_its_id(
    admin: httpx2.AsyncClient,
) -> None:
    terms = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 1}
    price = (await admin.post("/admin/costs", json=terms)).json()["price_id"]
    await admin.delete(f"/admin/costs/{price}")
    found = await rows(admin, kind="costs", object=price)
    assert [row["action"] for row in found] == ["end_cost", "create_cost"]
    assert found[0]["before"]["effective_until"] is None
    route = {"model": "house/a", "deployments": [{"model": "openai/gpt-4.1-mini"}]}
    await admin.post("/admin/models", json=route)
    await admin.patch("/admin/models/house/a", json={"max_attempts": 1})
    await admin.delete("/admin/models/house/a")
    found = await rows(admin, kind="models", object="house/a")
    assert [row["action"] for row in found] == ["delete_model", "change_model", "create_model"]
    assert [row["outcome"] for row in found] == ["done"] * 3, found


async def test_a_cancelled_write_is_not_known(
    settings: Settings, database: Database, redis: Redis
) -> None:
    """As when the process ends in the middle of one: the intent is there, and no outcome."""
    entered = asyncio.Event()

    class Slow(AccountStore):
        async def insert(self, account: Account) -> bool:
            await super().insert(account)
            entered.set()
            await asyncio.Event().wait()
            return True

    app = app_with(settings, database, redis)
    async with client_of(app, accounts=Slow(database)) as admin:
        writing = asyncio.create_task(admin.post("/admin/accounts", json=ACCOUNT))
        await entered.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        (row,) = await rows(admin)
        assert (row["outcome"], row["action"], row["asked"]) == (
            "unknown",
            "create_account",
            ACCOUNT,
        )
        assert (await admin.get("/admin/accounts/a")).status_code == 200
        assert (await verify(admin))["ok"]


async def test_reads_are_not_recorded(admin: httpx2.AsyncClient) -> None:
    for path in ("/admin/accounts", "/admin/audit", "/admin/people/me", "/health"):
        assert (await admin.get(path)).status_code == 200
    quote = {"model": "openai/gpt-4o", "usage": {"input": 1}}
    await admin.post("/admin/costs/quote", json=quote)
    assert await rows(admin) == []


async def test_a_refused_write_is_recorded_with_its_reason(admin: httpx2.AsyncClient) -> None:
    await admin.post("/admin/accounts", json=ACCOUNT)
    await admin.post("/admin/accounts", json=ACCOUNT)
    await admin.patch("/admin/accounts/nobody", json={"name": "x"})
    await admin.post("/admin/accounts", json={"user_id": {"$ne": 1}})
    outcomes = [(row["outcome"], row["status"], row["code"]) for row in await rows(admin)]
    assert outcomes == [
        ("refused", 422, "validation_failed"),
        ("refused", 404, "not_found"),
        ("refused", 409, "conflict"),
        ("done", 201, None),
    ]


async def test_no_secret_is_recorded(admin: httpx2.AsyncClient, database: Database) -> None:
    person = await make_person(admin, role="owner")
    await admin.post("/admin/accounts", json=ACCOUNT)
    key = (await admin.post("/admin/keys", json={"user_id": "a", "name": "k"})).json()
    rotated = await admin.post(f"/admin/keys/{key['key_id']}/rotate", json={})
    await admin.patch(f"/admin/keys/{key['api_key']}", json={"name": "l"}, headers=by(person))
    await admin.delete(f"/admin/keys/{key['api_key']}")
    await admin.delete("/admin/keys/sk-gw-unknownUnknownUnknown0123")
    documents = str(await database["audit"].find().to_list(None))
    secrets = [person["admin_key"], key["api_key"], rotated.json().get("api_key", "none")]
    for secret in (*secrets, "sk-gw-unknownUnknown", "an-admin-key-for-tests", "secret_hash"):
        assert secret not in documents
    renamed = (await rows(admin, action="change_key"))[0]
    assert (renamed["object"], renamed["actor"]) == (key["key_id"], person["person_id"])


async def test_roles_that_are_exceeded_are_recorded_some_of_them(
    admin: httpx2.AsyncClient,
) -> None:
    viewer = await make_person(admin)
    for _ in range(PER_SOURCE + 5):
        answer = await admin.post("/admin/accounts", json=ACCOUNT, headers=by(viewer))
        assert answer.status_code == 403
    assert (await admin.get("/admin/people", headers=by(viewer))).status_code == 403
    refusals = await rows(admin, actor=viewer["person_id"])
    assert [(row["outcome"], row["action"]) for row in refusals] == [
        ("refused", "create_account")
    ] * PER_SOURCE


async def test_filters(admin: httpx2.AsyncClient) -> None:
    ada = await make_person(admin, role="operator")
    await admin.post("/admin/accounts", json=ACCOUNT, headers=by(ada))
    answer = await admin.post("/admin/accounts", json={"user_id": "b"})
    for filters, objects in (
        ({"actor": ada["person_id"]}, ["a"]),
        ({"object": "b"}, ["b"]),
        ({"kind": "people"}, [ada["person_id"]]),
        ({"action": "create_account"}, ["b", "a"]),
        ({"request_id": answer.headers["x-request-id"]}, ["b"]),
        ({"since": "2026-11-24T12:00:00Z"}, ["b", "a", ada["person_id"]]),
        ({"since": "2026-11-24T12:00:00.001Z"}, []),
        ({"until": "2026-11-24T12:00:00Z"}, []),
        ({"actor": "$where"}, []),
        ({"actor": '{"$ne":""}'}, []),
    ):
        assert [row["object"] for row in await rows(admin, **filters)] == objects, filters
    unknown = await admin.get("/admin/audit", params={"who": "x"})
    assert unknown.status_code == 422
    wrong = await admin.get("/admin/audit", params={"cursor": "zzz"})
    assert (wrong.status_code, list(wrong_fields(wrong))) == (400, ["cursor"])


async def test_pages_have_each_write_once(admin: httpx2.AsyncClient) -> None:
    user_ids = [f"account-{number}" for number in range(7)]
    for user_id in user_ids:
        await admin.post("/admin/accounts", json={"user_id": user_id})
    objects: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = (await admin.get("/admin/audit", params=query)).json()
        assert len(page["data"]) <= 3
        objects += [row["object"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert objects == user_ids[::-1]
    back = [row["object"] for row in page["data"]]
    while page["previous_cursor"] is not None:
        query["cursor"] = page["previous_cursor"]
        page = (await admin.get("/admin/audit", params=query)).json()
        back = [row["object"] for row in page["data"]] + back
    assert back == objects


async def test_a_write_whose_process_ends_shows_its_intent(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await admin.post("/admin/accounts", json=ACCOUNT)
    await admin.patch("/admin/accounts/a", json={"name": "B"})
    # What a kill between the write and its outcome leaves.
    await database["audit"].delete_one({"phase": "outcome", "action": "change_account"})
    row, _ = await rows(admin)
    assert (row["outcome"], row["status"], row["after"]) == ("unknown", None, None)
    assert (row["before"]["name"], row["asked"]) == ("A", {"name": "B"})


async def test_the_chain_tells_what_was_done_to_it(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    assert await verify(admin) == {
        "ok": True,
        "records": 0,
        "head": {"seq": 0, "hash": ""},
        "fault": None,
        "next_cursor": None,
    }
    for number in range(4):
        await admin.post("/admin/accounts", json={"user_id": f"account-{number}"})
    proof = await verify(admin)
    assert (proof["ok"], proof["records"], proof["head"]["seq"]) == (True, 8, 8)
    records = database["audit"]
    third = await records.find_one({"_id": 3})
    assert third is not None
    await records.update_one({"_id": 3}, {"$set": {"actor": "person_x"}})
    assert (await verify(admin))["fault"]["seq"] == 3
    await records.update_one({"_id": 3}, {"$unset": {"phase": 1}})
    assert "no longer readable" in (await verify(admin))["fault"]["problem"]
    await records.delete_one({"_id": 3})
    missing = await verify(admin)
    assert (missing["ok"], missing["fault"]["seq"]) == (False, 3)
    await records.insert_one(third)
    assert (await verify(admin))["ok"]
    await records.delete_many({"_id": {"$gt": 6}})
    cut = await verify(admin)
    assert (cut["ok"], cut["fault"]["seq"]) == (False, 7)
    # Even where the noted head was removed too, a head that somebody kept tells it.
    await database["audit_head"].delete_many({})
    assert (await verify(admin))["ok"]
    assert not (await verify(admin, **proof["head"]))["ok"]


async def test_a_rewritten_chain_does_not_have_the_head_that_was_kept(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await admin.post("/admin/accounts", json=ACCOUNT)
    head = (await verify(admin))["head"]
    assert (await verify(admin, **head))["ok"]
    forged = {**head, "hash": "0" * 64}
    assert (await verify(admin, **forged))["fault"]["seq"] == head["seq"]
    assert (await admin.get("/admin/audit/verify?seq=1")).status_code == 422
    assert (await admin.get("/admin/audit/verify?seq=1&hash=x")).status_code == 422


async def test_the_export_can_be_checked_without_the_service(
    admin: httpx2.AsyncClient,
) -> None:
    await make_person(admin)
    for number in range(3):
        await admin.post("/admin/accounts", json={"user_id": f"account-{number}"})
    answer = await admin.get("/admin/audit/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    previous = ""
    lines = answer.text.splitlines()
    assert len(lines) == 8
    for line in lines:
        rest, _, _ = line.rpartition(',"hash":')
        record = json.loads(line)
        assert record["previous"] == previous
        assert record["hash"] == sha256(f"{rest}}}".encode()).hexdigest()
        previous = record["hash"]
    accounts_export = await admin.get("/admin/audit/export", params={"kind": "accounts"})
    assert {json.loads(line)["kind"] for line in accounts_export.text.splitlines()} == {"accounts"}


def _record(number: int) -> AuditRecord:
    return AuditRecord(
        seq=0,
        phase="refusal",
        intent=None,
        at=NOW,
        actor="root",
        actor_name="root",
        role="owner",
        action="x",
        kind="x",
        object=str(number),
        address="",
        request_id="",
    )


async def test_processes_share_one_chain(database: Database) -> None:
    store = AuditStore(database)
    trails = [AuditTrail(store) for _ in range(3)]
    await asyncio.gather(*(trails[n % 3].add(_record(n)) for n in range(30)))
    records = await store.after(0, limit=100)
    assert sorted(int(record.object or "") for record in records) == list(range(30))
    head, fault = checked(records, EMPTY)
    assert (head.seq, fault) == (30, None)


class AwayStore(AuditStore):
    """As if MongoDB refused the records, while all else works."""

    async def add(self, record: AuditRecord) -> bool:
        raise PyMongoError("away")


class CrowdedStore(AuditStore):
    """Every number is taken by somebody else."""

    async def add(self, record: AuditRecord) -> bool:
        return False


@pytest.mark.parametrize("store", [AwayStore, CrowdedStore])
async def test_a_failed_audit_write_raises_unavailable(
    database: Database, store: type[AuditStore]
) -> None:
    with pytest.raises(Unavailable):
        await AuditTrail(store(database)).add(_record(1))


async def test_without_the_log_writes_are_refused_and_reads_served(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    # Its records would be duplicates of one that cannot be read back as the last.
    await database["audit"].create_index("actor", unique=True)
    await database["audit"].insert_one({"_id": 0, "actor": "root", "seq": 0, "hash": ""})
    answer = await admin.post("/admin/accounts", json=ACCOUNT)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await admin.get("/admin/accounts")).json()["data"] == []
