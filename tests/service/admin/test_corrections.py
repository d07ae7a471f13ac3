"""`/admin/ledger/corrections`, `/admin/ledger/reprice` and `/admin/ledger/entries/{entry_id}`.

A ledger worker runs beside the admin app: it alone writes the ledger.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import ModelRun, TokenUsage
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.app import create_app
from services.admin.settings import Settings
from services.admin.state import Resources
from services.ledger_worker.assembly import open_corrector
from services.ledger_worker.unpriced_entries import UnpricedSweep
from tests.service.admin.conftest import NOW, client_of
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    MODEL,
    PERIODS,
    Stage,
    make_event,
    make_events,
    settings_for,
    working,
)

COST = Decimal("0.0045")
SELECTOR = {
    "since": (NOW - timedelta(days=1)).isoformat(),
    "until": (NOW + timedelta(days=1)).isoformat(),
}


@pytest.fixture
async def stage(database: Database, redis: Redis) -> Stage:
    new_stage = Stage(database, redis)
    await new_stage.prepare()
    return new_stage


@pytest.fixture
async def worker(stage: Stage, mongo_uri: str, redis_url: str) -> AsyncIterator[None]:
    async with working(stage, settings_for(mongo_uri, redis_url)):
        yield


async def post(stage: Stage, number: int = 1, **changes: Any) -> list[LedgerEntry]:
    events = [make_event(**changes) for _ in range(number)]
    await stage.enqueue(events)
    await stage.drained()
    return list(await stage.entries.get_many([event.call_id for event in events]))


async def correct(admin: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    body = {
        "user_id": "alice",
        "kind": "credit",
        "amount_usd": -1,
        "reason": "A good customer.",
        "idempotency_key": "key-1",
    }
    return await admin.post("/admin/ledger/corrections", json=body | fields)


async def assert_sound(admin: httpx2.AsyncClient, nusd: int) -> None:
    answer = exact(await admin.get("/admin/ledger/verify", params={"full": "true"}))
    assert (answer["ok"], answer["first_difference"]) == (True, None)
    assert answer["entries_total_usd"] == Decimal(nusd) / 10**9


@pytest.mark.usefixtures("worker")
async def test_a_refund_lowers_the_spend_of_the_calls_periods(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    [entry] = await post(stage)
    assert await stage.spent_in_redis("alice") == CALL_NUSD
    answer = await correct(admin, kind="refund", amount_usd=-0.0015, entry_id=entry.entry_id)
    assert answer.status_code == 201
    refund = exact(answer)
    assert (refund["kind"], refund["status"], refund["seq"]) == ("refund", "correction", 2)
    assert (refund["corrects"], refund["reason"]) == (entry.entry_id, "A good customer.")
    assert (refund["made_by"], refund["cost_usd"]) == ("root", Decimal("-0.0015"))
    assert (refund["model"], refund["key_id"]) == (MODEL, "key-1")
    assert (refund["periods"], refund["usage"]) == (list(PERIODS), None)
    await assert_sound(admin, 3_000_000)
    await stage.drained()
    for period in PERIODS:
        assert await stage.spent_in_redis("alice", period) == 3_000_000
    account = exact(await admin.get("/admin/accounts/alice"))
    assert account["spend"]["total_usd"] == Decimal("0.003")


@pytest.mark.usefixtures("worker")
async def test_a_credit_counts_in_the_current_periods(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    credit = exact(await correct(admin, amount_usd=-5))
    assert (credit["corrects"], credit["periods"]) == (None, list(PERIODS))
    assert (credit["key_id"], credit["format"], credit["model"]) == (None, None, None)
    await assert_sound(admin, -5 * 10**9)
    # The credit is spent like any other room in the budget.
    await post(stage)
    await assert_sound(admin, CALL_NUSD - 5 * 10**9)


@pytest.mark.usefixtures("worker", "stage")
async def test_the_same_idempotency_key_is_the_same_correction(admin: httpx2.AsyncClient) -> None:
    first, *others = await asyncio.gather(*(correct(admin) for _ in range(5)))
    assert {answer.status_code for answer in [first, *others]} == {201}
    assert all(exact(answer) == exact(first) for answer in others)
    for change in (
        {"amount_usd": -2},
        {"reason": "Another one."},
        {"user_id": "bob"},
        {"kind": "adjustment"},
    ):
        answer = await correct(admin, **change)
        assert answer.status_code == 409
        assert "idempotency_key" in wrong_fields(answer)
    # Whoever repeats it; the first one made it.
    person = {"name": "Ada", "role": "billing"}
    ada = (await admin.post("/admin/people", json=person)).json()["admin_key"]
    root = admin.headers["authorization"]
    admin.headers["authorization"] = f"Bearer {ada}"
    assert exact(await correct(admin)) == exact(first)
    admin.headers["authorization"] = root
    await assert_sound(admin, -(10**9))


@pytest.mark.usefixtures("worker")
async def test_a_call_is_refunded_up_to_what_it_cost(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    [entry] = await post(stage)
    refund = {"kind": "refund", "entry_id": entry.entry_id}
    assert (await correct(admin, amount_usd=-0.004, **refund)).status_code == 201
    too_much = await correct(admin, amount_usd=-0.001, idempotency_key="key-2", **refund)
    assert too_much.status_code == 422
    assert "0.0005" in wrong_fields(too_much)["amount_usd"]
    # The first one's key still stands for it.
    assert (await correct(admin, amount_usd=-0.004, **refund)).status_code == 201


@pytest.mark.usefixtures("worker")
async def test_an_abandoned_calls_cost_is_refunded_under_the_calls_id(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    """Else both could be refunded."""
    call = make_event()
    abandoned = msgspec.structs.replace(call, status="abandoned", usage=None, usage_source="none")
    for event in (abandoned, call):
        await stage.enqueue([event])
        await stage.drained()
    [late] = await stage.entries.corrections_of(await stage.entries.get_many([call.call_id]))
    refused = await correct(admin, kind="refund", amount_usd=-0.004, entry_id=late.entry_id)
    assert refused.status_code == 422
    assert call.call_id in wrong_fields(refused)["entry_id"]
    refund = await correct(admin, kind="refund", amount_usd=-0.0045, entry_id=call.call_id)
    assert refund.status_code == 201
    await assert_sound(admin, 0)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"amount_usd": 1}, 422, "amount_usd"),
        ({"amount_usd": 0}, 422, "amount_usd"),
        ({"amount_usd": "NaN"}, 422, "amount_usd"),
        ({"amount_usd": -1e-10}, 422, "amount_usd"),
        ({"amount_usd": -(2**53)}, 422, "amount_usd"),
        ({"kind": "reprice"}, 422, "kind"),
        ({"kind": "refund"}, 422, "entry_id"),
        ({"kind": "refund", "entry_id": "unknown"}, 404, "entry_id"),
        ({"reason": ""}, 422, "reason"),
        ({"user_id": "nobody"}, 404, "user_id"),
        ({"idempotency_key": ""}, 422, "idempotency_key"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
async def test_an_invalid_field_is_named_and_nothing_is_corrected(
    admin: httpx2.AsyncClient, fields: dict[str, Any], status: int, param: str
) -> None:
    answer = await correct(admin, **fields)
    assert answer.status_code == status
    assert param in wrong_fields(answer)
    await assert_sound(admin, 0)


@pytest.mark.usefixtures("worker")
async def test_a_call_of_another_account_is_not_corrected(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    [entry] = await post(stage, user_id="bob")
    answer = await correct(admin, kind="refund", amount_usd=-0.001, entry_id=entry.entry_id)
    assert answer.status_code == 422
    assert "entry_id" in wrong_fields(answer)


async def test_without_a_worker_a_correction_waits_for_one(
    settings: Settings, stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    @asynccontextmanager
    async def resources(_: Settings) -> AsyncIterator[Resources]:
        yield Resources(database=stage.database, redis=stage.redis)

    app = create_app(settings, open_resources=resources, now=lambda: NOW, correction_wait_s=0.05)
    async with client_of(app) as admin:
        first = await correct(admin)
        assert (first.status_code, exact(first)["status"]) == (202, "queued")
        assert exact(await correct(admin)) == exact(first)
        async with working(stage, settings_for(mongo_uri, redis_url)):
            await stage.drained()
        answer = await correct(admin)
        assert answer.status_code == 201
        assert exact(answer)["entry_id"] == exact(first)["entry_id"]
        await assert_sound(admin, -(10**9))


async def reprice(admin: httpx2.AsyncClient, **fields: Any) -> Any:
    body: dict[str, Any] = {"selector": SELECTOR}
    answer = await admin.post("/admin/ledger/reprice", json=body | fields)
    assert answer.status_code == (202 if fields.get("dry_run") is False else 200)
    return exact(answer)


@pytest.mark.usefixtures("worker")
async def test_entries_are_repriced_at_the_prices_in_force(
    admin: httpx2.AsyncClient, stage: Stage
) -> None:
    await post(stage, 3)
    [entry, _] = await post(stage, 2, user_id="bob")
    assert (await reprice(admin))["entries_changed"] == 0
    price_id = await stage.set_price(MODEL, "6", "15")
    expected = {
        "dry_run": True,
        "entries_selected": 5,
        "entries_changed": 5,
        "difference_usd": Decimal("0.015"),
        "accounts": [
            {"user_id": "alice", "entries": 3, "difference_usd": Decimal("0.009")},
            {"user_id": "bob", "entries": 2, "difference_usd": Decimal("0.006")},
        ],
        "next_cursor": None,
    }
    assert await reprice(admin) == expected
    await assert_sound(admin, 5 * CALL_NUSD)

    alone = await reprice(admin, selector=SELECTOR | {"user_id": "bob"}, dry_run=False)
    assert alone["difference_usd"] == Decimal("0.006")
    for _ in range(2):
        await reprice(admin, dry_run=False)
    await stage.drained()
    await assert_sound(admin, 5 * 7_500_000)
    assert (await reprice(admin))["entries_changed"] == 0
    assert await stage.spent_in_redis("bob") == 15_000_000

    # And back again: each step is relative to all those before it.
    await stage.set_price(MODEL, "3", "15")
    await reprice(admin, dry_run=False)
    await stage.drained()
    await assert_sound(admin, 5 * CALL_NUSD)
    view = exact(await admin.get(f"/admin/ledger/entries/{entry.entry_id}"))
    assert [row["kind"] for row in view["corrections"]] == ["reprice", "reprice"]
    assert [row["cost_usd"] for row in view["corrections"]] == [
        Decimal("0.003"),
        Decimal("-0.003"),
    ]
    assert view["corrections"][0]["price_id"] == price_id
    assert view["net_cost_usd"] == view["cost_usd"] == COST


@pytest.mark.usefixtures("worker")
async def test_entries_are_selected(admin: httpx2.AsyncClient, stage: Stage) -> None:
    await post(stage, 2)
    await post(stage, 1, model="other-1")
    await stage.set_price(MODEL, "6", "15")
    for selector, selected in (
        ({}, 3),
        ({"model": MODEL}, 2),
        ({"status": "unpriced"}, 1),
        ({"provider": "elsewhere"}, 0),
        ({"user_id": "bob"}, 0),
        ({"until": (NOW - timedelta(hours=23)).isoformat()}, 0),
    ):
        answer = await reprice(admin, selector=SELECTOR | selector)
        assert answer["entries_selected"] == selected
    bad = {"since": SELECTOR["until"], "until": SELECTOR["since"]}
    wrong = await admin.post("/admin/ledger/reprice", json={"selector": bad})
    assert wrong.status_code == 422


@pytest.mark.usefixtures("worker")
async def test_an_unpriced_call_is_settled_once_as_soon_as_it_has_a_price(
    admin: httpx2.AsyncClient, stage: Stage, sweep: UnpricedSweep
) -> None:
    [entry, _] = await post(stage, 2, model="late-1")
    assert (entry.status, entry.cost_nusd) == ("unpriced", 0)
    assert await sweep.run() == 0
    price_id = await stage.set_price("late-1", "3", "15")
    runs = await asyncio.gather(sweep.run(), sweep.run())
    assert sum(runs) >= 2
    assert await sweep.run() == 0
    await assert_sound(admin, 2 * CALL_NUSD)
    view = exact(await admin.get(f"/admin/ledger/entries/{entry.entry_id}"))
    assert (view["status"], view["cost_usd"], view["net_cost_usd"]) == ("unpriced", 0, COST)
    [correction] = view["corrections"]
    assert (correction["kind"], correction["made_by"]) == ("reprice", "ledger_worker")
    assert (correction["cost_usd"], correction["price_id"]) == (COST, price_id)
    assert [line["item"] for line in correction["lines"]] == ["input_text", "output_text"]
    assert await stage.database["unpriced"].count_documents({}) == 0


@pytest.mark.usefixtures("worker")
async def test_a_call_of_several_models_is_settled_once_all_of_them_have_a_price(
    admin: httpx2.AsyncClient, stage: Stage, sweep: UnpricedSweep
) -> None:
    """What has a price is charged at once, the rest when an administrator has set the last one."""
    advice = ModelRun(role="advisor", model="late-1", input_text=1_000)
    more_advice = ModelRun(role="advisor", model="late-2", output_text=100)
    usage = TokenUsage(input_text=1_000, output_text=100, runs=(advice, more_advice))
    [entry] = await post(stage, usage=usage)
    assert (entry.status, entry.cost_nusd) == ("unpriced", CALL_NUSD)
    await stage.set_price("late-2", "3", "15")
    assert await sweep.run() == 0
    view = exact(await admin.get(f"/admin/ledger/entries/{entry.entry_id}"))
    assert [line["amount_usd"] for line in view["lines"] if line.get("model")] == [None, None]

    await stage.set_price("late-1", "3", "15")
    assert await sweep.run() == 1
    assert await sweep.run() == 0
    # 1,000 at 3 and 100 at 15 USD per million once more.
    await assert_sound(admin, 2 * CALL_NUSD)
    view = exact(await admin.get(f"/admin/ledger/entries/{entry.entry_id}"))
    [correction] = view["corrections"]
    assert correction["cost_usd"] == COST
    assert [line.get("model") for line in correction["lines"]] == [None, None, "late-1", "late-2"]
    assert await stage.database["unpriced"].count_documents({}) == 0


@pytest.fixture
async def sweep(stage: Stage) -> AsyncIterator[UnpricedSweep]:
    async with open_corrector(stage.resources()) as corrector:
        yield UnpricedSweep(stage.entries, corrector)


@pytest.mark.usefixtures("worker")
async def test_an_entry_is_explained(admin: httpx2.AsyncClient, stage: Stage) -> None:
    [entry] = await post(stage)
    view = exact(await admin.get(f"/admin/ledger/entries/{entry.entry_id}"))
    assert view["price"]["price_id"] == view["price_id"] == entry.price_id
    assert view["price"]["rates"]["input"] == 3
    assert sum(line["amount_usd"] for line in view["lines"]) == view["cost_usd"] == COST
    assert view["corrections"] == []
    assert (await admin.get("/admin/ledger/entries/unknown")).status_code == 404


async def test_many_calls_are_repriced_in_pages(
    admin: httpx2.AsyncClient, stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    async with working(stage, settings_for(mongo_uri, redis_url)):
        await stage.enqueue(make_events(1_001))
        await stage.drained()
        await stage.set_price(MODEL, "6", "15")
        answer = await reprice(admin, dry_run=False)
        assert (answer["entries_selected"], answer["entries_changed"]) == (1_001, 1_001)
        await stage.drained()
        await assert_sound(admin, 1_001 * 7_500_000)
