"""`/admin/usage/summary` and `/admin/usage/series`."""

from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo import segment_sums
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact
from tests.service.admin.test_usage import entry
from tests.support.sent_commands import collection_of, sent_commands

SMALL_USD = Decimal("3.000000001")
# Usage of a call as `entry` makes it.
TOKENS = {"input_text": 1001, "output_text": 7}


def on(day: str, n: int, cost_nusd: int, **fields: Any) -> LedgerEntry:
    """An entry of November's day, whose number tells it from others."""
    periods = ("total", "2026-11", "2026-W48", f"2026-11-{day}")
    return msgspec.structs.replace(
        entry(n), periods=periods, cost_nusd=cost_nusd, **({"user_id": "a"} | fields)
    )


@pytest.fixture
async def admin(admin: httpx2.AsyncClient, database: Database) -> httpx2.AsyncClient:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})
    await LedgerStore(database).post(
        [
            on("22", 0, 5_000_000_000, model="big"),
            on("23", 1, 1_000_000_001, model="small", status="client_closed"),
            on("23", 2, 2_000_000_000, model="small", provider="other", user_id="b"),
            on("24", 3, 500_000_000, model="tiny", key_id="key_2"),
            on("24", 4, 0, model=None, provider=None, usage=None, status="refused"),
            on("24", 5, -250_000_000, kind="refund", status="correction", usage=None, key_id=""),
        ]
    )
    return admin


async def summary(admin: httpx2.AsyncClient, **params: Any) -> Any:
    answer = await admin.get("/admin/usage/summary", params=params)
    assert answer.status_code == 200, answer.text
    return exact(answer)


def costs(answer: Any, *fields: str) -> list[tuple[Any, ...]]:
    return [(*(row[field] for field in fields), row["cost_usd"]) for row in answer["data"]]


async def test_groups_are_summed_the_dearest_first(admin: httpx2.AsyncClient) -> None:
    answer = await summary(admin, since="2026-11-01", until="2026-12-01")
    assert (answer["since"], answer["until"]) == ("2026-11-01", "2026-12-01")
    assert answer["group_by"] == ["model"]
    assert answer["data"][:2] == [
        {
            "model": "big",
            "cost_usd": 5,
            "calls": 1,
            "corrections": 0,
            "statuses": {"ok": 1},
            "tokens": TOKENS,
        },
        {
            "model": "small",
            "cost_usd": SMALL_USD,
            "calls": 2,
            "corrections": 0,
            "statuses": {"ok": 1, "client_closed": 1},
            "tokens": {"input_text": 2002, "output_text": 14},
        },
    ]
    assert costs(answer, "model")[2:] == [
        ("tiny", Decimal("0.5")),
        (None, 0),
        ("m", Decimal("-0.25")),
    ]
    assert answer["rest"] is None
    total = answer["total"]
    assert (total["cost_usd"], total["calls"], total["corrections"]) == (
        Decimal("8.250000001"),
        5,
        1,
    )
    assert total["statuses"] == {"ok": 3, "client_closed": 1, "refused": 1}


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        (
            "day",
            [
                ("2026-11-22", 5),
                ("2026-11-23", SMALL_USD),
                ("2026-11-24", Decimal("0.25")),
            ],
        ),
        ("month", [("2026-11", Decimal("8.250000001"))]),
        ("provider", [("acme", Decimal("6.250000001")), ("other", 2), (None, 0)]),
    ],
)
async def test_by_one_field(
    admin: httpx2.AsyncClient, group_by: str, expected: list[tuple[Any, ...]]
) -> None:
    assert costs(await summary(admin, group_by=group_by), group_by) == expected


async def test_by_several_fields(admin: httpx2.AsyncClient) -> None:
    answer = await summary(admin, group_by="account,key", since="2026-11-24")
    assert costs(answer, "user_id", "key_id") == [
        ("a", "key_2", Decimal("0.5")),
        ("a", "key_1", 0),
        ("a", None, Decimal("-0.25")),
    ]


async def test_the_rest_is_summed_apart(admin: httpx2.AsyncClient) -> None:
    answer = await summary(admin, limit=1)
    assert costs(answer, "model") == [("big", 5)]
    assert answer["rest"]["cost_usd"] == Decimal("3.250000001")
    assert answer["rest"]["statuses"] == {"ok": 2, "client_closed": 1, "refused": 1}
    assert answer["total"]["cost_usd"] == Decimal("8.250000001")


FILTERED: list[tuple[dict[str, str], Any]] = [
    ({"user_id": "b"}, 2),
    ({"model": "small"}, SMALL_USD),
    ({"model": "other/small"}, 2),
    ({"provider": "other"}, 2),
    ({"since": "2026-11-23", "until": "2026-11-24"}, SMALL_USD),
    ({"since": "2026-11-25"}, 0),
    # The default is the last 30 days, today included.
    ({}, Decimal("8.250000001")),
    ({"until": "2026-12-22"}, Decimal("8.250000001")),
    ({"until": "2026-12-23"}, Decimal("3.250000001")),
]


async def test_sums_are_filtered(admin: httpx2.AsyncClient) -> None:
    for params, cost_usd in FILTERED:
        assert (await summary(admin, **params))["total"]["cost_usd"] == cost_usd, params


async def test_a_key_has_its_own_sums(admin: httpx2.AsyncClient, database: Database) -> None:
    key = (await admin.post("/admin/keys", json={"user_id": "a"})).json()
    await LedgerStore(database).post([on("24", 6, 7_000_000, key_id=key["key_id"])])
    mine = await summary(admin, key_id=key["key_id"])
    assert mine["total"]["cost_usd"] == Decimal("0.007")
    for other in ({"key_id": "key_2"}, {"key_id": key["key_id"], "user_id": "b"}):
        answer = await admin.get("/admin/usage/summary", params=other)
        assert (answer.status_code, list(wrong_fields(answer))) == (404, ["key_id"])


async def test_an_unknown_account_is_not_found(admin: httpx2.AsyncClient) -> None:
    for path in ("summary", "series"):
        answer = await admin.get(f"/admin/usage/{path}", params={"user_id": "nobody"})
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("summary", {"group_by": "colour"}, "group_by"),
        ("summary", {"group_by": "day,day"}, "group_by"),
        ("summary", {"group_by": "day,account,key,model,status"}, "group_by"),
        ("summary", {"limit": "1001"}, "limit"),
        ("summary", {"since": "2026-11-24", "until": "2026-11-24"}, "until"),
        ("summary", {"since": "2025-01-01", "until": "2026-11-24"}, "until"),
        ("summary", {"since": "last week"}, "since"),
        ("series", {"until": "0001-01-01"}, "until"),
        ("summary", {"group_by": "tag:"}, "group_by"),
        ("summary", {"group_by": "tag:unknown"}, "group_by"),
        ("summary", {"tag": "unknown:x"}, "tag"),
        ("summary", {"zone": "Mars/Olympus"}, "zone"),
        ("summary", {"group_by": "day", "compare": "previous"}, "compare"),
        ("summary", {"group_by": "hour", "since": "2026-10-01", "until": "2026-11-24"}, "until"),
        ("series", {"interval": "hour", "until": "2026-11-24", "since": "2026-10-01"}, "until"),
        ("series", {"interval": "minute"}, "interval"),
        ("series", {"group_by": "status"}, "group_by"),
        ("series", {"group_by": "day"}, "group_by"),
        ("series", {"limit": "21"}, "limit"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_parameters_are_named(
    shared_admin: httpx2.AsyncClient, path: str, params: dict[str, str], field: str
) -> None:
    answer = await shared_admin.get(f"/admin/usage/{path}", params=params)
    assert (answer.status_code, list(wrong_fields(answer))) == (422, [field])


async def test_a_series_has_every_day(admin: httpx2.AsyncClient) -> None:
    params = {"since": "2026-11-21", "until": "2026-11-25", "group_by": "model", "limit": "2"}
    answer = exact(await admin.get("/admin/usage/series", params=params))
    points = {row["model"]: [p["cost_usd"] for p in row["points"]] for row in answer["data"]}
    assert points == {"big": [0, 5, 0, 0], "small": [0, 0, SMALL_USD, 0]}
    assert answer["total"] == [
        {"start": "2026-11-21", "cost_usd": 0, "calls": 0},
        {"start": "2026-11-22", "cost_usd": 5, "calls": 1},
        {"start": "2026-11-23", "cost_usd": SMALL_USD, "calls": 2},
        {"start": "2026-11-24", "cost_usd": Decimal("0.25"), "calls": 2},
    ]


@pytest.mark.parametrize(
    ("group_by", "asked"), [("model", 1), ("provider", 1), ("key", 3), ("client_user", 3)]
)
async def test_a_series_of_few_groups_is_one_question(
    admin: httpx2.AsyncClient, group_by: str, asked: int
) -> None:
    params = {"since": "2026-11-22", "until": "2026-11-25", "group_by": group_by, "limit": "1"}
    with sent_commands() as commands:
        answer = exact(await admin.get("/admin/usage/series", params=params))
    assert len([each for each in commands if each.get("aggregate") == "rollups"]) == asked
    assert len(answer["data"]) == 1
    dearest = (await summary(admin, **params))["data"][0]
    assert sum(point["cost_usd"] for point in answer["data"][0]["points"]) == dearest["cost_usd"]
    assert sum(point["cost_usd"] for point in answer["total"]) == Decimal("8.250000001")


async def test_a_series_of_one_account_is_one_question(admin: httpx2.AsyncClient) -> None:
    params = {"since": "2026-11-22", "until": "2026-11-25", "limit": "2"}
    expected: dict[tuple[str, str], dict[str, list[Any]]] = {
        ("model", "model"): {"big": [5, 0, 0], "small": [0, Decimal("1.000000001"), 0]},
        ("key", "key_id"): {
            "key_1": [5, Decimal("1.000000001"), 0],
            "key_2": [0, 0, Decimal("0.5")],
        },
    }
    for (by, field), lines in expected.items():
        params |= {"group_by": by, "user_id": "a"}
        with sent_commands() as commands:
            answer = exact(await admin.get("/admin/usage/series", params=params))
        series = {row[field]: [p["cost_usd"] for p in row["points"]] for row in answer["data"]}
        assert (list(series), series) == (list(lines), lines)
        # Also of those that are not shown.
        assert [point["cost_usd"] for point in answer["total"]] == [
            5,
            Decimal("1.000000001"),
            Decimal("0.25"),
        ]
        sums = [c for c in commands if collection_of(c) in ("rollups", "rollup_segments")]
        assert len([each for each in sums if "aggregate" in each]) == 1


@pytest.mark.parametrize(
    ("interval", "starts"),
    [
        ("week", {"2026-11-16": 5, "2026-11-23": Decimal("3.250000001")}),
        ("month", {"2026-11-01": Decimal("8.250000001")}),
    ],
)
async def test_longer_intervals_are_those_of_the_calendar(
    admin: httpx2.AsyncClient, interval: str, starts: dict[str, Any]
) -> None:
    params = {"since": "2026-11-20", "until": "2026-11-26", "interval": interval}
    answer = exact(await admin.get("/admin/usage/series", params=params))
    assert {point["start"]: point["cost_usd"] for point in answer["total"]} == starts


async def test_calls_without_a_provider_have_a_series(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    """Also where the rollup was written before rollups had providers."""
    await database["rollups"].insert_one(
        {"_id": "old", "user_id": "a", "day": "2026-11-24", "key_id": "k", "model": "m"}
        | {"cost_nusd": 3_000_000_000, "calls": 4}
    )
    params = {"since": "2026-11-24", "until": "2026-11-25", "group_by": "provider"}
    answer = exact(await admin.get("/admin/usage/series", params=params))
    assert answer["data"][0] == {
        "provider": None,
        "points": [{"start": "2026-11-24", "cost_usd": 3, "calls": 5}],
    }


async def test_a_period_is_compared_with_the_one_before(admin: httpx2.AsyncClient) -> None:
    params = {"since": "2026-11-24", "until": "2026-11-25", "compare": "previous", "limit": "1"}
    answer = await summary(admin, **params)
    assert answer["previous"] == {"since": "2026-11-23", "until": "2026-11-24"}
    (tiny,) = answer["data"]
    assert (tiny["model"], tiny["previous"]["cost_usd"], tiny["previous"]["calls"]) == (
        "tiny",
        0,
        0,
    )
    assert answer["rest"]["previous"]["cost_usd"] == SMALL_USD
    assert answer["total"]["previous"]["statuses"] == {"ok": 1, "client_closed": 1}
    answer = await summary(admin, **params | {"since": "2026-11-23", "until": "2026-11-25"})
    assert [row["previous"]["cost_usd"] for row in answer["data"]] == [0]
    answer = await summary(admin, **params | {"group_by": "account,provider"})
    assert answer["data"][0]["previous"]["cost_usd"] == Decimal("1.000000001")


@pytest.mark.parametrize(
    ("since", "until", "before"),
    [
        ("2026-11-01", "2026-12-01", "2026-10-01"),
        ("2026-01-01", "2026-03-01", "2025-11-01"),
        ("2024-03-01", "2024-03-15", "2024-02-16"),
    ],
)
async def test_months_are_compared_with_months(
    admin: httpx2.AsyncClient, since: str, until: str, before: str
) -> None:
    answer = await summary(admin, since=since, until=until, compare="previous")
    assert answer["previous"] == {"since": before, "until": since}


async def test_a_series_by_hour_has_those_of_the_zone(admin: httpx2.AsyncClient) -> None:
    """The clock of Berlin is set back on the first day."""
    params = {"since": "2026-10-25", "until": "2026-10-26", "interval": "hour"}
    answer = exact(await admin.get("/admin/usage/series", params=params))
    assert (answer["zone"], len(answer["total"])) == ("UTC", 24)
    answer = exact(
        await admin.get("/admin/usage/series", params=params | {"zone": "Europe/Berlin"})
    )
    starts = [point["start"] for point in answer["total"]]
    assert starts[:4] == [
        "2026-10-25T00:00:00+02:00",
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]
    assert (len(starts), starts[-1]) == (25, "2026-10-25T23:00:00+01:00")
    params |= {"since": "2026-11-24", "until": "2026-11-25", "group_by": "model"}
    answer = exact(await admin.get("/admin/usage/series", params=params | {"zone": "Asia/Kolkata"}))
    points = {row["model"]: row["points"] for row in answer["data"]}
    # The entries are of 11:54 to 12:00 UTC, whatever their periods say.
    assert points["big"][17] == {"start": "2026-11-24T17:00:00+05:30", "cost_usd": 5, "calls": 1}
    assert sum(point["cost_usd"] for point in answer["total"]) == Decimal("8.250000001")


async def test_rollups_without_cells_are_summed(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    """Also what is posted to such a rollup since."""
    await database["rollups"].insert_one(
        {"_id": "a|2026-11-24|key_1|old|acme", "user_id": "a", "day": "2026-11-24"}
        | {"key_id": "key_1", "model": "old", "cost_nusd": 3_000_000_000, "calls": 4}
    )
    await LedgerStore(database).post(
        [on("24", 7, 1_000_000_000, model="old", requested_model="old")]
    )
    await RollupSegments(database).roll_up(after_ms=0)
    params = {"model": "old", "since": "2026-11-24", "until": "2026-11-25"}
    assert costs(await summary(admin, **params, group_by="requested_model"), "requested_model") == [
        (None, 4)
    ]
    for extra in ({}, {"zone": "Asia/Tokyo"}):
        answer = await summary(admin, **params, **extra, group_by="day,status")
        assert costs(answer, "day", "status") == [("2026-11-24", None, 4)]
        answer = await summary(admin, **params, **extra, group_by="hour")
        assert costs(answer, "hour") == [(None, 4)]
        assert answer["total"]["calls"] == 5


async def test_more_groups_than_are_summed_wait_for_the_roll_up(
    admin: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_sums, "_MAX_UNROLLED_GROUPS", 2)
    params = {"user_id": "a", "since": "2026-11-01", "until": "2026-12-01"}
    for path in ("summary", "series"):
        answer = await admin.get(f"/admin/usage/{path}", params=params | {"group_by": "model"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        problem = answer.json()
        assert problem["code"] == "service_unavailable"
        assert "fewer fields or a shorter period" in problem["detail"]
    assert (await summary(admin, **params, group_by="account"))["total"]["calls"] == 4
    await RollupSegments(database).roll_up(after_ms=0)
    assert len((await summary(admin, **params, group_by="model"))["data"]) == 5
