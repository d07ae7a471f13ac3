"""Budgets, limits and time zones of accounts and keys."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from libs.common.schemas.holds import LimitScope, PeriodLimit, Spent
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.holds import HoldStore
from services.admin.settings import Settings
from tests.servers import free_port
from tests.service.admin.conftest import app_with, client_of
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact

PLAIN: dict[str, Any] = {"soft_limit_usd": None, "alert_percents": []}
TOTAL: dict[str, Any] = {**PLAIN, "limit_usd": 10, "period": "total", "soft_limit_usd": 8}
DAILY: dict[str, Any] = {**PLAIN, "limit_usd": 1, "period": "daily"}
LIMITS = {"requests_per_minute": 60, "tokens_per_minute": 0, "parallel_calls": None}
LIMITED: dict[str, Any] = {"budgets": [TOTAL, DAILY], "limits": LIMITS}
# What neither accounts nor keys may have, and the fields that the answer then names.
WRONG: list[tuple[dict[str, Any], set[str]]] = [
    ({"budgets": [{**TOTAL, "limit_usd": -1}]}, {"budgets[0].limit_usd"}),
    ({"budgets": [{**TOTAL, "limit_usd": "NaN"}]}, {"budgets[0].limit_usd"}),
    ({"budgets": [{**TOTAL, "limit_usd": "Infinity"}]}, {"budgets[0].limit_usd"}),
    ({"budgets": [{**TOTAL, "limit_usd": 9007199.254740992}]}, {"budgets[0].limit_usd"}),
    ({"budgets": [{**TOTAL, "limit_usd": 1e-10}]}, {"budgets[0].limit_usd"}),
    ({"budgets": [{**TOTAL, "soft_limit_usd": -1}]}, {"budgets[0].soft_limit_usd"}),
    ({"budgets": [{**TOTAL, "soft_limit_usd": 1e300}]}, {"budgets[0].soft_limit_usd"}),
    ({"budgets": [DAILY, {**TOTAL, "soft_limit_usd": 11}]}, {"budgets[1].soft_limit_usd"}),
    ({"budgets": [DAILY, TOTAL, DAILY]}, {"budgets[2].period"}),
    ({"budgets": [{**DAILY, "period": "hourly"}]}, {"budgets[0].period"}),
    (
        {"budgets": [{}, {"cap": 1}]},
        {
            *(f"budgets[{n}].{name}" for n in range(2) for name in ("limit_usd", "period")),
            "budgets[1].cap",
        },
    ),
    ({"budgets": [DAILY] * 5}, {f"budgets[{place}].period" for place in range(1, 5)}),
    ({"budgets": [5]}, {"budgets[0]"}),
    ({"budgets": DAILY}, {"budgets"}),
    ({"limits": {"requests_per_minute": -1}}, {"limits.requests_per_minute"}),
    ({"limits": {"tokens_per_minute": 1.5}}, {"limits.tokens_per_minute"}),
    ({"limits": {"parallel_calls": 10**9 + 1}}, {"limits.parallel_calls"}),
    ({"limits": {"per_hour": 1}}, {"limits.per_hour"}),
    ({"limits": [1]}, {"limits"}),
]


@pytest.fixture(params=["accounts", "keys"])
async def paths(request: pytest.FixtureRequest, admin: httpx2.AsyncClient) -> tuple[str, str]:
    """The path to make one at, and that of one which is there, without any limit."""
    account = (await admin.post("/admin/accounts", json={"user_id": "a"})).json()
    if request.param == "accounts":
        return "/admin/accounts", f"/admin/accounts/{account['user_id']}"
    key = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    return "/admin/keys", f"/admin/keys/{key['key_id']}"


def new(path: str, **fields: Any) -> dict[str, Any]:
    return {"user_id": "a" if path.endswith("keys") else "b", **fields}


async def test_budgets_and_limits_are_set_changed_and_lifted(
    admin: httpx2.AsyncClient, paths: tuple[str, str]
) -> None:
    collection, existing = paths
    answer = await admin.post(collection, json=new(collection, **LIMITED))
    assert answer.status_code == 201, answer.text
    assert {name: answer.json()[name] for name in LIMITED} == LIMITED
    changed = (await admin.patch(existing, json=LIMITED)).json()
    assert {name: changed[name] for name in LIMITED} == LIMITED
    one = (await admin.patch(existing, json={"budgets": [DAILY]})).json()
    assert (one["budgets"], one["limits"]) == ([DAILY], LIMITS)
    none = (await admin.patch(existing, json={"budgets": [], "limits": None})).json()
    assert (none["budgets"], set(none["limits"].values())) == ([], {None})
    assert (await admin.get(existing)).json() == none


@pytest.mark.parametrize("limit", [0, 0.000000001, 9007199.254740991])
async def test_the_bounds_of_a_limit_are_limits_themselves(
    admin: httpx2.AsyncClient, paths: tuple[str, str], limit: float
) -> None:
    budget = {**PLAIN, "limit_usd": limit, "period": "weekly", "soft_limit_usd": limit}
    answer = await admin.patch(paths[1], json={"budgets": [budget]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["budgets"] == [budget]


async def test_every_invalid_field_is_named_by_its_path(
    admin: httpx2.AsyncClient, paths: tuple[str, str]
) -> None:
    collection, existing = paths
    before = (await admin.get(existing)).json()
    for fields, expected in WRONG:
        for answer in (
            await admin.post(collection, json=new(collection, **fields)),
            await admin.patch(existing, json=fields),
        ):
            assert answer.status_code == 422, (fields, answer.text)
            assert set(wrong_fields(answer)) == expected, fields
    assert (await admin.get(existing)).json() == before
    assert len((await admin.get(collection)).json()["data"]) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_nan_and_infinity_are_invalid_json(
    admin: httpx2.AsyncClient, paths: tuple[str, str], number: str
) -> None:
    body = f'{{"budgets": [{{"limit_usd": {number}, "period": "total"}}]}}'
    answer = await admin.patch(paths[1], content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


async def test_budget_is_short_for_one_of_an_account(admin: httpx2.AsyncClient) -> None:
    account = (await admin.post("/admin/accounts", json=new("", budget=TOTAL))).json()
    assert (account["budget"], account["budgets"]) == (TOTAL, [TOTAL])
    several = (await admin.patch("/admin/accounts/b", json={"budgets": [TOTAL, DAILY]})).json()
    assert (several["budget"], len(several["spend"]["budgets"])) == (None, 2)
    none = (await admin.patch("/admin/accounts/b", json={"budget": None})).json()
    assert (none["budget"], none["budgets"]) == (None, [])
    both = await admin.patch("/admin/accounts/b", json={"budget": TOTAL, "budgets": [TOTAL]})
    assert set(wrong_fields(both)) == {"budget"}
    soft = await admin.patch("/admin/accounts/b", json={"budget": {**TOTAL, "soft_limit_usd": 11}})
    assert set(wrong_fields(soft)) == {"budget.soft_limit_usd"}


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "utc\x00", "Europe", 5, None])
async def test_an_unknown_time_zone_is_rejected(admin: httpx2.AsyncClient, zone: object) -> None:
    for answer in (
        await admin.post("/admin/accounts", json=new("", time_zone=zone)),
        await admin.post("/admin/accounts", json=new("", time_zone=zone, budget=TOTAL)),
    ):
        assert answer.status_code == 422, answer.text
        assert set(wrong_fields(answer)) == {"time_zone"}


async def test_periods_are_those_of_the_accounts_time_zone(admin: httpx2.AsyncClient) -> None:
    """It is noon in London, and a quarter to six in the evening in Kathmandu."""
    account = {"time_zone": "Asia/Kathmandu", **LIMITED}
    spend = (await admin.post("/admin/accounts", json=new("", **account))).json()["spend"]
    assert [(budget["period"], budget["ends_at"]) for budget in spend["budgets"]] == [
        ("total", None),
        ("2026-11-24", "2026-11-24T18:15:00Z"),
    ]
    key = (await admin.post("/admin/keys", json={"user_id": "b", "budgets": [DAILY]})).json()
    assert key["spend"]["budgets"][0]["ends_at"] == "2026-11-24T18:15:00Z"


async def test_a_key_shows_what_it_spent_and_holds(
    admin: httpx2.AsyncClient, database: Database, redis: Redis
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a"})
    key = (await admin.post("/admin/keys", json={"user_id": "a", **LIMITED})).json()
    other = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    for day, key_id, nusd in (
        ("2026-11-23", key["key_id"], 2_000_000_001),
        ("2026-11-24", key["key_id"], 500_000_000),
        ("2026-11-24", other["key_id"], 900_000_000),
    ):
        await database["rollups"].insert_one(
            {"user_id": "a", "day": day, "key_id": key_id, "cost_nusd": nusd, "revision": 1}
        )
    holds, key_id = HoldStore(redis), key["key_id"]
    await holds.seed("a", [Spent(key_id=key_id, period="total", nusd=2_500_000_001)])
    await holds.admit(
        "a",
        "call",
        hold_nusd=100_000_000,
        tokens=0,
        lease_s=60,
        scopes=[LimitScope(key_id=key_id, budgets=(PeriodLimit("total", 10_000_000_000),))],
        event=b"",
    )
    expected = {
        "budgets": [
            {
                "period": "total",
                "spent_usd": Decimal("2.500000001"),
                "limit_usd": 10,
                "remaining_usd": Decimal("7.399999999"),
                "ends_at": None,
                # The key was made just now, so its pace is that of an hour.
                "outlook": "runs_out",
                "expected_usd": None,
                "runs_out_at": "2026-11-24T14:59:59Z",
            },
            {
                "period": "2026-11-24",
                "spent_usd": Decimal("0.5"),
                "limit_usd": 1,
                "remaining_usd": Decimal("0.4"),
                "ends_at": "2026-11-25T00:00:00Z",
                "outlook": "runs_out",
                "expected_usd": Decimal("30.500000012"),
                "runs_out_at": "2026-11-24T12:11:59Z",
            },
        ],
        "held_usd": Decimal("0.1"),
        "total_usd": Decimal("2.500000001"),
    }
    nothing: dict[str, Any] = {"budgets": [], "held_usd": None}
    assert exact(await admin.get(f"/admin/keys/{key_id}"))["spend"] == expected
    rows = exact(await admin.get("/admin/keys", params={"user_id": "a"}))["data"]
    assert [row["spend"] for row in rows] == [
        {name: value for name, value in expected.items() if name != "total_usd"},
        nothing,
    ]


async def test_without_redis_a_key_is_shown(settings: Settings, database: Database) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        client_of(app_with(settings, database, away)) as admin,
    ):
        await admin.post("/admin/accounts", json={"user_id": "a"})
        key = await admin.post("/admin/keys", json={"user_id": "a", "budgets": [DAILY]})
        assert key.status_code == 201
        spend = key.json()["spend"]
    assert spend["held_usd"] is spend["budgets"][0]["remaining_usd"] is None
    assert spend["budgets"][0]["spent_usd"] == 0
