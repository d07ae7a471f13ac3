"""`/admin/accounts`."""

import json
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
from tests.service.admin.problems import problem, wrong_fields

NO_LIMITS = {"requests_per_minute": None, "tokens_per_minute": None, "parallel_calls": None}


def exact(response: httpx2.Response) -> Any:
    """The body with its numbers as they were written."""
    return json.loads(response.text, parse_float=Decimal)


async def test_an_account_is_created_with_all_its_fields(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post(
        "/admin/accounts",
        json={
            "user_id": "team-a",
            "name": "Team A",
            "budget": {"limit_usd": 12.5, "period": "monthly"},
            "metadata": {"cost-center": "42"},
        },
    )
    assert answer.status_code == 201
    budget = {
        "limit_usd": Decimal("12.5"),
        "period": "monthly",
        "soft_limit_usd": None,
        "alert_percents": [],
    }
    assert exact(answer) == {
        "user_id": "team-a",
        "name": "Team A",
        "status": "active",
        "budget": budget,
        "budgets": [budget],
        "limits": NO_LIMITS,
        "time_zone": "UTC",
        "price_multiplier": 1,
        "provider_objects": [],
        "metadata": {"cost-center": "42"},
        "spend": {
            "total_usd": 0,
            "budgets": [
                {
                    "period": "2026-11",
                    "spent_usd": 0,
                    "limit_usd": Decimal("12.5"),
                    "remaining_usd": Decimal("12.5"),
                    "ends_at": "2026-12-01T00:00:00Z",
                    "outlook": "lasts",
                    "expected_usd": 0,
                    "runs_out_at": None,
                }
            ],
            "period": "2026-11",
            "period_usd": 0,
            "period_ends_at": "2026-12-01T00:00:00Z",
            "held_usd": 0,
            "remaining_usd": Decimal("12.5"),
        },
        "created_at": "2026-11-24T12:00:00Z",
        "updated_at": "2026-11-24T12:00:00Z",
    }
    view = await admin.get("/admin/accounts/team-a")
    assert view.status_code == 200
    assert exact(view) == exact(answer)


async def test_an_account_needs_only_its_id(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post("/admin/accounts", json={"user_id": "u@x.org"})
    account = answer.json()
    assert (answer.status_code, account["name"], account["budget"]) == (201, "u@x.org", None)
    assert account["spend"] == {
        "total_usd": 0,
        "budgets": [],
        "period": None,
        "period_usd": None,
        "period_ends_at": None,
        "held_usd": 0,
        "remaining_usd": None,
    }


async def test_a_user_id_is_taken_once(admin: httpx2.AsyncClient) -> None:
    await admin.post("/admin/accounts", json={"user_id": "a", "name": "first"})
    again = await admin.post("/admin/accounts", json={"user_id": "a", "name": "second"})
    assert again.status_code == 409
    assert again.json()["code"] == "conflict"
    assert (await admin.get("/admin/accounts/a")).json()["name"] == "first"


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ("0", "0"),
        ("0.000000001", "0.000000001"),
        ("0.1", "0.1"),
        ("1e3", "1000"),
        ("9007199.254740991", "9007199.254740991"),
        ("1.50000000000000000000", "1.5"),
    ],
)
async def test_a_limit_is_kept_to_the_last_digit(
    admin: httpx2.AsyncClient, limit: str, kept: str
) -> None:
    body = f'{{"user_id": "a", "budget": {{"limit_usd": {limit}, "period": "total"}}}}'
    answer = await admin.post(
        "/admin/accounts", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 201, answer.text
    assert f'"budget":{{"limit_usd":{kept},' in (await admin.get("/admin/accounts/a")).text


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"user_id"}),
        ({"user_id": 5}, {"user_id"}),
        ({"user_id": ""}, {"user_id"}),
        ({"user_id": "{a}"}, {"user_id"}),
        ({"user_id": "a|b"}, {"user_id"}),
        ({"user_id": "a\n"}, {"user_id"}),
        ({"user_id": "-a"}, {"user_id"}),
        ({"user_id": "a" * 129}, {"user_id"}),
        ({"user_id": "a", "name": "x" * 257}, {"name"}),
        ({"user_id": "a", "name": "x\x00"}, {"name"}),
        ({"user_id": "a", "status": "paused"}, {"status"}),
        ({"user_id": "a", "budget": 5}, {"budget"}),
        ({"user_id": "a", "budget": {}}, {"budget.limit_usd", "budget.period"}),
        (
            {"user_id": "a", "budget": {"limit_usd": -1, "period": "yearly", "limit": 1}},
            {"budget.limit_usd", "budget.period", "budget.limit"},
        ),
        ({"user_id": "a", "budget": {"limit_usd": "NaN", "period": "total"}}, {"budget.limit_usd"}),
        ({"user_id": "a", "budget": {"limit_usd": 1e300, "period": "total"}}, {"budget.limit_usd"}),
        ({"user_id": "a", "budget": {"limit_usd": 1e-10, "period": "total"}}, {"budget.limit_usd"}),
        ({"user_id": "a", "budget": {"limit_usd": True, "period": "total"}}, {"budget.limit_usd"}),
        (
            {"user_id": "a", "budget": {"limit_usd": 9007199.254740992, "period": "total"}},
            {"budget.limit_usd"},
        ),
        ({"user_id": "a", "metadata": {"k": 1}}, {"metadata"}),
        ({"user_id": "a", "metadata": {"$k": "v"}}, {"metadata"}),
        ({"user_id": "a", "metadata": {"k": "v" * 513}}, {"metadata"}),
        ({"user_id": "a", "metadata": {f"k{n}": "v" for n in range(33)}}, {"metadata"}),
        (
            {"user_id": "|", "nmae": "x", "status": 1, "budget": {"limit_usd": -1}, "spent": 2},
            {"user_id", "nmae", "status", "budget.limit_usd", "budget.period", "spent"},
        ),
        ([], {"body"}),
        ("user_id", {"body"}),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_invalid_field_is_named(
    shared_admin: httpx2.AsyncClient, shared_database: Database, body: object, fields: set[str]
) -> None:
    answer = await shared_admin.post("/admin/accounts", json=body)
    assert answer.status_code == 422, answer.text
    error = problem(answer)
    assert error["code"] == "validation_failed"
    assert set(wrong_fields(answer)) == fields
    assert all(field in error["detail"] for field in fields)
    assert await shared_database["accounts"].count_documents({}) == 0


async def test_accounts_are_listed_in_pages(admin: httpx2.AsyncClient) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in reversed(names):
        await admin.post("/admin/accounts", json={"user_id": name})
    pages: list[list[str]] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await admin.get("/admin/accounts", params=params)).json()
        pages.append([account["user_id"] for account in page["data"]])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    whole = (await admin.get("/admin/accounts", params={"limit": 5})).json()
    assert (len(whole["data"]), whole["next_cursor"]) == (5, None)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("limit=0", {"limit"}),
        ("limit=201", {"limit"}),
        ("limit=many&curser=a", {"limit", "curser"}),
        ("limit=1&limit=2", {"limit"}),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_invalid_parameter_is_named(
    shared_admin: httpx2.AsyncClient, query: str, fields: set[str]
) -> None:
    answer = await shared_admin.get(f"/admin/accounts?{query}")
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == fields


async def test_changes_leave_other_fields_alone(admin: httpx2.AsyncClient) -> None:
    budget = {"limit_usd": 5, "period": "daily", "soft_limit_usd": 4, "alert_percents": [50]}
    await admin.post(
        "/admin/accounts",
        json={"user_id": "a", "name": "A", "budget": budget, "metadata": {"k": "v"}},
    )

    async def change(body: dict[str, Any]) -> dict[str, Any]:
        answer = await admin.patch("/admin/accounts/a", json=body)
        assert answer.status_code == 200, answer.text
        fields = ("name", "status", "budget", "metadata")
        return {field: answer.json()[field] for field in fields}

    account: dict[str, Any] = {
        "name": "A",
        "status": "active",
        "budget": budget,
        "metadata": {"k": "v"},
    }
    steps: list[dict[str, Any]] = [
        {"status": "suspended"},
        {"budget": {**budget, "limit_usd": 7, "period": "weekly", "soft_limit_usd": None}},
        {"name": "B", "metadata": {"k": "w"}},
        {"budget": None},
    ]
    for changes in steps:
        account |= changes
        assert await change(changes) == account
    assert (await admin.get("/admin/accounts/a")).json()["spend"]["period"] is None


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"body"}),
        ({"user_id": "b"}, {"user_id"}),
        ({"spent_nusd": 0}, {"spent_nusd"}),
        ({"name": None, "status": None, "metadata": 5}, {"name", "status", "metadata"}),
        ({"budget": {"limit_usd": 1}}, {"budget.period"}),
    ],
)
async def test_an_invalid_change_changes_nothing(
    admin: httpx2.AsyncClient, body: object, fields: set[str]
) -> None:
    before = (await admin.post("/admin/accounts", json={"user_id": "a"})).json()
    answer = await admin.patch("/admin/accounts/a", json=body)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == fields
    assert (await admin.get("/admin/accounts/a")).json() == before


async def test_unknown_accounts_are_not_found(admin: httpx2.AsyncClient) -> None:
    for answer in (
        await admin.get("/admin/accounts/nobody"),
        await admin.patch("/admin/accounts/nobody", json={"name": "x"}),
    ):
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


async def test_spend_is_that_of_the_budgets_period(
    admin: httpx2.AsyncClient, database: Database, redis: Redis
) -> None:
    for user_id, period in (("a", "monthly"), ("b", "daily"), ("c", "total")):
        await admin.post(
            "/admin/accounts",
            json={"user_id": user_id, "budget": {"limit_usd": 10, "period": period}},
        )
        spend = {"total": 3_000_000_001, "2026-11": 2_000_000_000}
        await database["accounts"].update_one(
            {"_id": user_id}, {"$set": {"spent_nusd": spend["total"], "spend": spend}}
        )
    holds = HoldStore(redis)
    await holds.seed("a", [Spent(period="2026-11", nusd=2_000_000_000)])
    await holds.admit(
        "a",
        "call",
        hold_nusd=500_000_000,
        tokens=0,
        lease_s=60,
        scopes=[LimitScope(budgets=(PeriodLimit("2026-11", 10_000_000_000),))],
        event=b"",
    )
    accounts = exact(await admin.get("/admin/accounts"))["data"]
    for account in accounts:
        (budget,) = account["spend"].pop("budgets")
        assert budget["limit_usd"] == 10
        for one, other in (
            ("period", "period"),
            ("spent_usd", "period_usd"),
            ("remaining_usd", "remaining_usd"),
            ("ends_at", "period_ends_at"),
        ):
            assert budget[one] == account["spend"][other]
    assert [account["spend"] for account in accounts] == [
        {
            "total_usd": Decimal("3.000000001"),
            "period": "2026-11",
            "period_usd": 2,
            "period_ends_at": "2026-12-01T00:00:00Z",
            "held_usd": Decimal("0.5"),
            "remaining_usd": Decimal("7.5"),
        },
        {
            "total_usd": Decimal("3.000000001"),
            "period": "2026-11-24",
            "period_usd": 0,
            "period_ends_at": "2026-11-25T00:00:00Z",
            "held_usd": 0,
            "remaining_usd": 10,
        },
        {
            "total_usd": Decimal("3.000000001"),
            "period": "total",
            "period_usd": Decimal("3.000000001"),
            "period_ends_at": None,
            "held_usd": 0,
            "remaining_usd": Decimal("6.999999999"),
        },
    ]


async def test_without_redis_accounts_are_shown_and_changed(
    settings: Settings, database: Database
) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        client_of(app_with(settings, database, away)) as admin,
    ):
        answer = await admin.post(
            "/admin/accounts",
            json={"user_id": "a", "budget": {"limit_usd": 1, "period": "total"}},
        )
        assert answer.status_code == 201
        assert answer.headers["x-invalidation"] == "delayed"
        spend = (await admin.get("/admin/accounts/a")).json()["spend"]
        assert (spend["held_usd"], spend["remaining_usd"]) == (None, None)
        metrics = (await admin.get("/metrics")).text
    assert 'admin_invalidations_delayed_total{kind="account"} 1.0' in metrics
    assert await database["accounts"].count_documents({"_id": "a"}) == 1
