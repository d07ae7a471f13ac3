"""Sums by every grouping are those of the entries, and add up to what the accounts spent."""

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette

from libs.common.domain.corrections import correction_entry, late_event
from libs.common.domain.ids import uuid7
from libs.common.domain.periods import period_keys, zone_of
from libs.common.schemas.correction import CorrectionOrder
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenUsage
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_segments import STATE, RollupSegments
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import app_with
from tests.service.admin.test_accounts import exact
from tests.unit.builders import entry

ZONES = {"a": "UTC", "b": "America/New_York", "c": "Asia/Kolkata"}
START = datetime(2026, 10, 24, tzinfo=UTC)
PERIOD = {"since": "2026-10-20", "until": "2026-11-16"}
NUSD = Decimal(10) ** 9


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, rollup_tags="team, env")


@pytest.fixture
def app(settings: Settings, database: Database, redis: Redis) -> Starlette:
    return app_with(settings, database, redis)


def call(chance: random.Random, n: int) -> LedgerEntry:
    at = START + timedelta(minutes=chance.randrange(20 * 24 * 60))
    user_id, model = chance.choice("abc"), chance.choice(["m", "n", None])
    status = chance.choice(["ok", "ok", "client_closed", "unpriced"]) if model else "refused"
    zone = ZONES[user_id]
    return entry(
        uuid7(int(at.timestamp() * 1000), n.to_bytes(10)),
        user_id=user_id,
        key_id=f"{user_id}-{chance.randrange(2)}",
        started_at=at,
        time_zone=zone,
        periods=period_keys(at, zone_of(zone)),
        requested_model=chance.choice([model, "house/best", None]),
        model=model,
        provider="acme" if model else None,
        status=status,
        cost_nusd=chance.randrange(10**9) if status in ("ok", "client_closed") else 0,
        usage=TokenUsage(input_text=chance.randrange(1000)) if status == "ok" else None,
        client_user=chance.choice([None, "u1", "u2"]),
        tags=chance.choice([(), ("team:x", "free:1"), ("team:y", "env"), ("env",)]),
    )


def load(seed: int) -> list[LedgerEntry]:
    """Calls, refunds of some, credits, and calls that had been given up."""
    chance = random.Random(seed)
    entries = [call(chance, n) for n in range(120)]
    for original in chance.sample([row for row in entries if row.cost_nusd > 1], 25):
        refund = correction_of(original, chance.randrange(1, original.cost_nusd))
        entries.append(refund)
    entries.append(correction_of(entries[0], 10**9, credit=True))
    for original in chance.sample([row for row in entries if row.status == "ok"], 5):
        abandoned = msgspec.structs.replace(
            original,
            entry_id=original.entry_id[:-4] + "ffff",
            status="abandoned",
            cost_nusd=0,
            usage=None,
        )
        late = late_event(msgspec.structs.replace(original, entry_id=abandoned.entry_id), abandoned)
        assert late is not None
        entries += [abandoned, late]
    return entries


def correction_of(original: LedgerEntry, nusd: int, *, credit: bool = False) -> LedgerEntry:
    order = CorrectionOrder(
        entry_id=original.entry_id[:-4] + ("cccc" if credit else "dddd"),
        user_id=original.user_id,
        kind="credit" if credit else "refund",
        corrects=None if credit else original.entry_id,
        cost_nusd=-nusd,
        reason="r",
        made_by="admin",
        at=original.started_at,
    )
    correction = correction_entry(
        order,
        None if credit else original,
        periods=original.periods,
        time_zone=original.time_zone,
        posted_at=original.posted_at,
    )
    assert isinstance(correction, LedgerEntry)
    return correction


def tag_of(row: LedgerEntry, name: str) -> str | None:
    return next((tag for tag in row.tags if tag.partition(":")[0] == name), None)


def own_hour(row: LedgerEntry) -> datetime:
    local = row.started_at.astimezone(zone_of(row.time_zone))
    return local.replace(minute=0, second=0, microsecond=0)


def hour_in(zone: str) -> Callable[[LedgerEntry], str]:
    def hour(row: LedgerEntry) -> str:
        return own_hour(row).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:00%z")

    return hour


Field = Callable[[LedgerEntry], str | None]
PLAIN: dict[str, tuple[str, Field]] = {
    "day": ("day", lambda row: row.periods[3]),
    "month": ("month", lambda row: row.periods[1]),
    "account": ("user_id", lambda row: row.user_id),
    "key": ("key_id", lambda row: row.key_id or None),
    "model": ("model", lambda row: row.model),
    "requested_model": ("requested_model", lambda row: row.requested_model),
    "provider": ("provider", lambda row: row.provider),
    "status": ("status", lambda row: row.status),
    "client_user": ("client_user", lambda row: row.client_user),
    "hour": ("hour", hour_in("UTC")),
    "tag:team": ("team", lambda row: tag_of(row, "team")),
    "tag:env": ("env", lambda row: tag_of(row, "env")),
}
BERLIN = {
    "day": (
        "day",
        lambda row: own_hour(row).astimezone(ZoneInfo("Europe/Berlin")).date().isoformat(),
    ),
    "hour": ("hour", hour_in("Europe/Berlin")),
}
GROUPINGS = [
    *PLAIN,
    "account,tag:team,client_user",
    "hour,status",
    "status,requested_model,client_user,tag:env",
    "day,key,status",
]


async def get_sums(
    admin: httpx2.AsyncClient, names: list[str], by: str, **params: str
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    answer = await admin.get(
        "/admin/usage/summary", params={"group_by": by, "limit": "1000"} | PERIOD | params
    )
    assert answer.status_code == 200, answer.text
    data = exact(answer)["data"]
    assert len(data) < 1000
    sums = {
        tuple((row | row.get("tags", {}))[name] for name in names): (
            row["cost_usd"],
            row["calls"],
            row["corrections"],
            row["tokens"].get("input_text", 0),
        )
        for row in data
    }
    assert len(sums) == len(data)
    return sums


def expected(entries: list[LedgerEntry], fields: list[Field]) -> dict[tuple[Any, ...], Any]:
    """A late event is a call in the group of its status, in place of one that was abandoned."""
    sums: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [Decimal(0), 0, 0, 0])
    for row in entries:
        group = sums[tuple(field(row) for field in fields)]
        group[0] += row.cost_nusd / NUSD
        group[1 if row.kind == "call" else 2] += 1
        group[3] += 0 if row.usage is None else row.usage.input_text or 0
        if row.kind == "late_event":
            group[1] += 1
            abandoned = msgspec.structs.replace(row, status="abandoned")
            sums[tuple(field(abandoned) for field in fields)][1] -= 1
    return {group: tuple(values) for group, values in sums.items()}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("whole", [False, True])
async def test_groups_are_the_sums_of_their_entries(
    admin: httpx2.AsyncClient, database: Database, seed: int, whole: bool
) -> None:
    for user_id, zone in ZONES.items():
        await admin.post("/admin/accounts", json={"user_id": user_id, "time_zone": zone})
    entries = load(seed)
    ledger, segments = LedgerStore(database, rollup_tags=("team", "env")), RollupSegments(database)
    for start in range(0, len(entries), 17):
        await ledger.post(entries[start : start + 17])
        if start == 17 * 5:
            await segments.roll_up(after_ms=0)
    assert await segments.check()
    if not whole:
        await segments.collection.update_one({"_id": STATE}, {"$set": {"whole": False}})

    spent = Decimal(0)
    for user_id in ZONES:
        spent += exact(await admin.get(f"/admin/accounts/{user_id}"))["spend"]["total_usd"]
    assert spent == sum(row.cost_nusd for row in entries) / NUSD
    for by in GROUPINGS:
        names, fields = zip(*(PLAIN[name] for name in by.split(",")), strict=True)
        sums = await get_sums(admin, list(names), by)
        assert sums == expected(entries, list(fields)), by
        assert sum(cost for cost, *_ in sums.values()) == spent
    for by in ("day", "hour"):
        name, field = BERLIN[by]
        sums = await get_sums(admin, [name], by, zone="Europe/Berlin")
        assert sums == expected(entries, [field])
    for params, keeps in (
        ({"tag": "team:x"}, lambda row: "team:x" in row.tags),
        (
            {"client_user": "u1", "status": "ok"},
            lambda row: (row.client_user, row.status) == ("u1", "ok"),
        ),
        ({"requested_model": "house/best"}, lambda row: row.requested_model == "house/best"),
    ):
        rows = [row for row in entries if keeps(row)]
        sums = await get_sums(admin, ["user_id"], "account", **params)
        costs = {
            group: values[0] for group, values in expected(rows, [lambda r: r.user_id]).items()
        }
        assert {group: values[0] for group, values in sums.items()} == costs
