"""`/admin/ledger/verify` finds whatever somebody wrote past the ledger."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from libs.common.domain.checkpoints import Checkpoint, Seal
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from tests.service.admin.test_accounts import exact
from tests.service.admin.test_usage import entry

COST = Decimal("0.01017115")


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b", "unused"):
        await admin.post("/admin/accounts", json={"user_id": user_id})


async def test_an_honest_ledger_is_ok(admin: httpx2.AsyncClient, database: Database) -> None:
    # Minutes 0 and 1,440 lie on different days, 80,000 in another month.
    await LedgerStore(database).post([entry(0), entry(1440), entry(80_000), entry(1, user_id="b")])
    answer = await admin.get("/admin/ledger/verify")
    assert answer.status_code == 200
    assert exact(answer) == {
        "ok": True,
        "full": False,
        "accounts": 3,
        "entries": 4,
        "entries_total_usd": 4 * COST,
        "drifting_accounts": 0,
        "checked_at": "2026-11-24T12:00:00Z",
        "first_difference": None,
        "next_cursor": None,
    }


@pytest.mark.parametrize(
    ("collection", "query", "change", "where", "found"),
    [
        ("accounts", {"_id": "b"}, {"$inc": {"spent_nusd": 1}}, "account", COST + Decimal("1e-9")),
        ("accounts", {"_id": "b"}, {"$inc": {"spent_nusd": 0.25}}, "account", None),
        ("accounts", {"_id": "b"}, {"$inc": {"spent_nusd": -0.75}}, "account", None),
        ("rollups", {"user_id": "b"}, {"$inc": {"cost_nusd": -1}}, "rollups:2026-11-24", None),
        ("accounts", {"_id": "b"}, {"$inc": {"spend.total": 1}}, "period:total", None),
        ("accounts", {"_id": "b"}, {"$inc": {"spend.2026-11": 1}}, "period:2026-11", None),
        ("accounts", {"_id": "b"}, {"$set": {"spend.2026-W48": 0}}, "period:2026-W48", 0),
    ],
)
async def test_a_tampered_sum_is_found(
    admin: httpx2.AsyncClient,
    database: Database,
    collection: str,
    query: dict[str, Any],
    change: dict[str, Any],
    where: str,
    found: Decimal | None,
) -> None:
    await LedgerStore(database).post([entry(0), entry(1, user_id="b")])
    await RollupSegments(database).roll_up(after_ms=0)
    await database[collection].update_one(query, change)
    answer = exact(await admin.get("/admin/ledger/verify"))
    difference = answer["first_difference"]
    assert answer["ok"] is False
    assert (difference["user_id"], difference["where"]) == ("b", where)
    assert difference["expected_usd"] == COST
    assert difference["found_usd"] != COST
    if found is not None:
        assert difference["found_usd"] == found


async def test_a_removed_entry_is_found(admin: httpx2.AsyncClient, database: Database) -> None:
    await LedgerStore(database).post([entry(0)])
    await database["entries"].delete_one({})
    difference = exact(await admin.get("/admin/ledger/verify"))["first_difference"]
    assert difference == {
        "user_id": "a",
        "where": "entries",
        "expected_entries": 1,
        "found_entries": 0,
    }


async def test_one_account_can_be_verified(admin: httpx2.AsyncClient, database: Database) -> None:
    await LedgerStore(database).post([entry(0), entry(1, user_id="b")])
    await database["accounts"].update_one({"_id": "b"}, {"$inc": {"spent_nusd": 1}})
    for user_id, ok in (("a", True), ("b", False)):
        answer = exact(await admin.get("/admin/ledger/verify", params={"user_id": user_id}))
        assert (answer["ok"], answer["accounts"], answer["entries"]) == (ok, 1, 1)
    unknown = await admin.get("/admin/ledger/verify", params={"user_id": "nobody"})
    assert unknown.status_code == 404


async def test_full_ignores_the_checkpoints(admin: httpx2.AsyncClient, database: Database) -> None:
    """A checkpoint that lies stands for one that was true when the entries were still there."""
    await LedgerStore(database).post([entry(0), entry(1)])
    checkpoint = Checkpoint(
        user_id="a", seq=1, nusd=1, periods={"total": 1, "2026-11": 1, "2026-W48": 1}
    )
    await ProofStore(database).save([Seal(checkpoint=checkpoint)])
    partial = exact(await admin.get("/admin/ledger/verify"))
    assert partial["first_difference"]["where"] == "account"
    assert exact(await admin.get("/admin/ledger/verify", params={"full": "true"}))["ok"] is True


async def test_entries_without_an_account_are_found(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await LedgerStore(database).post([entry(0)])
    await database["accounts"].delete_one({"_id": "a"})
    difference = exact(await admin.get("/admin/ledger/verify"))["first_difference"]
    assert difference == {
        "user_id": "a",
        "where": "account",
        "expected_usd": COST,
        "found_usd": None,
    }
