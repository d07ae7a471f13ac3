"""What the worker tells of beside postings: letters, drift, cooldowns, spools, keys that expire."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.outbox import outbox_of
from libs.common.schemas.account import Budget
from libs.common.schemas.alert import Delivery
from libs.common.schemas.key import ApiKey
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.spool_notes import SpoolNote, SpoolNoteStore
from services.ledger_worker.alerts.forecasts import ForecastWatch
from services.ledger_worker.alerts.watches import CooldownWatch, ExpiryWatch, SpoolWatch
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.test_jobs import context, jobs_over
from tests.service.ledger_worker.test_verify import post, verifier_of
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    altered,
    make_event,
    working,
)
from tests.support.receivers import list_deliveries, receiver


class Alerts:
    """What is in the outbox, and a clock that the test moves."""

    def __init__(self, stage: Stage) -> None:
        self.now = NOW
        self._alerts = AlertStore(stage.database)

    def clock(self) -> datetime:
        return self.now

    async def deliveries(self) -> list[Delivery]:
        return await list_deliveries(self._alerts)

    async def data(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(each.body)["data"] for each in await self.deliveries()]


@pytest.fixture
async def alerts(stage: Stage) -> Alerts:
    await ReceiverStore(stage.database).insert(receiver("rcv_1", "https://hooks.example/"))
    return Alerts(stage)


async def test_dead_letters_are_reported_once_per_reason(stage: Stage, alerts: Alerts) -> None:
    raws = [altered(make_event(), v=99) for _ in range(3)]
    other = altered(make_event("bob"), v=99)

    async def fail(_: Any) -> Any:
        raise AssertionError

    async with jobs_over(stage, fail) as jobs:
        for _ in range(2):
            # The job is delivered again, as when its worker died behind the letter.
            for raw in (*raws, other):
                await jobs.post(context(), msgspec.msgpack.encode([msgspec.Raw(raw)]))
    assert await stage.dead_letters.count() == 4
    data = await alerts.data()
    assert sorted(row["user_id"] for row in data) == ["alice", "bob"]
    [letter] = [row for row in data if row["user_id"] == "bob"]
    assert (letter["letter_kind"], letter["reason"]) == ("event", "version 99 is unknown")


async def test_drift_is_reported_once_per_day(
    stage: Stage, settings: Settings, alerts: Alerts
) -> None:
    await post(stage, settings, 2)
    verifier = verifier_of(stage, stage.metrics)
    await verifier.take_turn()
    assert await alerts.data() == []
    update = {"$inc": {"spent_nusd": 1}}
    await stage.database["accounts"].update_one({"_id": "alice"}, update)
    for _ in range(2):
        # The turn that was taken lasts for a while.
        await stage.redis.delete("gateway:worker:verify")
        await verifier.take_turn()
    [data] = await alerts.data()
    assert (data["user_id"], data["where"], data["unit"]) == ("alice", "account", "nusd")
    assert (data["expected"], data["found"]) == (2 * CALL_NUSD, 2 * CALL_NUSD + 1)
    assert data["drifting_accounts"] == 1


async def test_cooldowns_are_reported_once_per_hour(stage: Stage, alerts: Alerts) -> None:
    cooldowns = CooldownStore(stage.redis)
    watch = CooldownWatch(cooldowns, outbox_of(stage.database), alerts.clock)
    await watch.look()
    for minutes in (0, 1, 60):
        alerts.now = NOW + timedelta(minutes=minutes)
        now_s = alerts.now.timestamp()
        await cooldowns.exchange({"dep_1": now_s + 30}, now_s=now_s)
        await watch.look()
    alerts.now += timedelta(minutes=1)
    await watch.look()
    assert [row["deployment"] for row in await alerts.data()] == ["dep_1", "dep_1"]
    assert (await alerts.data())[0]["until"] == "2026-11-24T12:00:30Z"


async def test_spools_are_reported_once_they_have_waited_long(stage: Stage, alerts: Alerts) -> None:
    notes = SpoolNoteStore(stage.redis)
    watch = SpoolWatch(notes, outbox_of(stage.database), alerts.clock, after_s=60)
    began_ms = int(NOW.timestamp() * 1000)
    waiting = SpoolNote(gateway="gw-1", since_ms=began_ms)
    short = SpoolNote(gateway="gw-2", since_ms=began_ms, until_ms=began_ms + 59_999)
    # Redis was away all the time, so the note comes when it is over.
    late = SpoolNote(gateway="gw-3", since_ms=began_ms - 90_000, until_ms=began_ms)
    for note in (waiting, short, late):
        await notes.put(note)
    await watch.look()
    assert [row["gateway"] for row in await alerts.data()] == ["gw-3"]
    assert await notes.all() == [waiting]
    alerts.now += timedelta(seconds=60)
    for _ in range(2):
        await watch.look()
    await notes.put(msgspec.structs.replace(waiting, until_ms=began_ms + 70_000))
    await watch.look()
    assert await notes.all() == []
    assert [(row["gateway"], row["until"]) for row in await alerts.data()] == [
        ("gw-3", "2026-11-24T12:00:00Z"),
        ("gw-1", None),
    ]


async def test_notes_of_gateways_that_are_gone_are_forgotten(stage: Stage, alerts: Alerts) -> None:
    """Although others prolong the life of the hash that all are in."""
    notes = SpoolNoteStore(stage.redis)
    watch = SpoolWatch(notes, outbox_of(stage.database), alerts.clock, after_s=60)
    began_ms = int(NOW.timestamp() * 1000)
    gone = SpoolNote(gateway="gw-1", since_ms=began_ms, noted_ms=began_ms)
    waiting = SpoolNote(gateway="gw-2", since_ms=began_ms, noted_ms=began_ms + 10_000)
    for note in (gone, waiting):
        await notes.put(note)
    alerts.now += timedelta(days=1, seconds=5)
    await watch.look()
    assert await notes.all() == [waiting]


async def test_keys_are_reported_before_they_expire(stage: Stage, alerts: Alerts) -> None:
    keys = KeyStore(stage.database)

    async def add(name: str, days: float | None, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "key_id": f"key_{name}",
            "user_id": "alice",
            "name": name,
            "prefix": "sk-gw-1",
            "secret_hash": name,
            "expires_at": None if days is None else NOW + timedelta(days=days),
            "created_at": NOW,
            "updated_at": NOW,
        }
        assert await keys.insert(ApiKey(**(fields | changes)))

    await add("soon", 6.9)
    await add("later", 7.1)
    await add("never", None)
    await add("expired", -0.1)
    await add("revoked", 1, status="revoked")
    watch = ExpiryWatch(keys, outbox_of(stage.database), alerts.clock, within=timedelta(days=7))
    for _ in range(2):
        await watch.look()
    assert [row["name"] for row in await alerts.data()] == ["soon"]
    alerts.now += timedelta(days=1)
    await watch.look()
    assert [row["name"] for row in await alerts.data()] == ["soon", "later"]
    # Another expiry is another fact.
    await keys.update("key_soon", {"expires_at": alerts.now + timedelta(days=6.95)}, NOW)
    await watch.look()
    assert len(await alerts.data()) == 3
    assert {each.user_id for each in await alerts.deliveries()} == {"alice"}


@pytest.mark.parametrize("of_key", [False, True])
async def test_a_budget_that_will_run_out_is_reported_once_per_period(
    stage: Stage, settings: Settings, alerts: Alerts, *, of_key: bool
) -> None:
    """At 12:00 of the 24th, one of the days' two calls a day is spent each half a day."""
    tight = Budget(limit_nusd=8 * CALL_NUSD, period="weekly")
    budgets = msgspec.to_builtins(
        (tight, Budget(limit_nusd=10**15, period="monthly"), Budget(limit_nusd=1, period="total"))
    )
    made_at = NOW - timedelta(days=30)
    if of_key:
        key = ApiKey(
            key_id="key-1",
            user_id="alice",
            name="ci",
            prefix="",
            secret_hash="h",
            budgets=msgspec.convert(budgets, tuple[Budget, ...]),
            created_at=made_at,
            updated_at=NOW,
        )
        assert await KeyStore(stage.database).insert(key)
    else:
        await stage.accounts.update("alice", {"budgets": budgets, "created_at": made_at}, NOW)
    # A zone that this machine does not know ends no other account's forecasts.
    await stage.accounts.update("bob", {"budgets": budgets, "time_zone": "Mars/Base"}, NOW)
    async with working(stage, settings):
        yesterday = NOW - timedelta(days=1)
        await stage.enqueue([make_event(), *(make_event(started_at=yesterday) for _ in range(2))])
        await stage.drained()
    await stage.database["alerts"].delete_many({})
    for _ in range(2):
        # Of a worker that has just started.
        watch = ForecastWatch(
            accounts=stage.accounts,
            keys=KeyStore(stage.database),
            ledger=LedgerReader(stage.database),
            outbox=outbox_of(stage.database),
            redis=stage.redis,
            now=alerts.clock,
            every_s=900,
        )
        await watch.look()
        # Another worker has the turn.
        await watch.look()
        await stage.redis.delete("gateway:worker:forecasts")
    [data] = await alerts.data()
    assert (data["key_id"], data["period"]) == ("key-1" if of_key else None, "weekly")
    assert (data["current"], data["spent_usd"]) == ("2026-W48", 0.0135)
    # Three calls in a day and a half: five more take two and a half days, to the 27th.
    assert data["runs_out_at"] == "2026-11-27T00:00:00Z"
    assert (data["ends_at"], data["expected_usd"]) == ("2026-11-30T00:00:00Z", 0.063)
