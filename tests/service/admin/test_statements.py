"""`GET /admin/accounts/{user_id}/statements/{month}`."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import msgspec
import pytest

from libs.common.domain.money import usd_to_nusd
from libs.common.domain.periods import period_keys
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from services.admin.exports.statements import COLUMNS
from tests.service.admin.conftest import NOW
from tests.service.admin.test_accounts import exact
from tests.service.admin.test_usage import entry

ZONE = "Pacific/Auckland"
MODELS = ("big", "small", None)
MONTHS = ("2026-09", "2026-10", "2026-11")


def at(started_at: datetime, n: int, **fields: Any) -> LedgerEntry:
    """Whatever it is, in the periods that the account's zone has then."""
    return msgspec.structs.replace(
        entry(n),
        entry_id=f"entry-{n:04}",
        started_at=started_at,
        time_zone=ZONE,
        periods=period_keys(started_at, ZoneInfo(ZONE)),
        **fields,
    )


def ledger(seed: int, count: int) -> list[LedgerEntry]:
    """Calls, refunds, re-pricings and credits around the ends of months, in no order."""
    chance = Random(seed)
    entries = []
    for n in range(count):
        # Half of them within a day of the month's first moment in UTC, where zones disagree.
        first = datetime(2026, chance.choice((9, 10, 11)), 1, tzinfo=UTC)
        hours = chance.choice((chance.uniform(-24, 24), chance.uniform(0, 500)))
        started_at = max(first + timedelta(hours=hours), datetime(2026, 9, 1, tzinfo=UTC))
        started_at = min(started_at, NOW).replace(microsecond=0)
        model = chance.choice(MODELS)
        fields: dict[str, Any] = {
            "model": model,
            "provider": None if model is None else "acme",
            "key_id": chance.choice(("key_1", "key_2")),
            "client_user": chance.choice((None, "x", "y")),
            "cost_nusd": chance.randrange(10**9),
        }
        kind = chance.choice(("call", "call", "refund", "reprice", "credit"))
        if kind != "call":
            fields |= {"kind": kind, "status": "correction", "usage": None}
            fields["cost_nusd"] -= 10**9 // 2
        if kind == "credit":
            fields |= {"key_id": "", "model": None, "provider": None, "client_user": None}
        entries.append(at(started_at, n, **fields))
    return entries


@pytest.fixture(autouse=True)
async def account(admin: httpx2.AsyncClient, database: Database) -> None:
    for user_id in ("a", "b"):
        body = {"user_id": user_id, "name": "Customer", "time_zone": ZONE}
        assert (await admin.post("/admin/accounts", json=body)).status_code == 201


async def statement(admin: httpx2.AsyncClient, month: str, user_id: str = "a") -> Any:
    answer = await admin.get(f"/admin/accounts/{user_id}/statements/{month}")
    assert answer.status_code == 200, answer.text
    return exact(answer)


def nusd(value: Any) -> int:
    return usd_to_nusd(Decimal(value))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_statements_add_up_to_the_entries_and_the_spend(
    admin: httpx2.AsyncClient, database: Database, seed: int
) -> None:
    posted = ledger(seed, 60)
    other = at(NOW, 999, user_id="b", cost_nusd=77)
    assert await LedgerStore(database).post([*posted, other]) == len(posted) + 1
    spent = 0
    for month in MONTHS:
        view = await statement(admin, month)
        entries = [each for each in posted if month in each.periods]
        by_line: Counter[tuple[Any, ...]] = Counter()
        kinds: Counter[str] = Counter()
        for each in entries:
            by_line[each.key_id or None, each.provider, each.model] += each.cost_nusd
            kind = "credits" if each.kind == "credit" else "corrections"
            kinds["calls" if each.kind == "call" else kind] += 1
            kinds["calls_usd" if each.kind == "call" else f"{kind}_usd"] += each.cost_nusd
        assert {
            (line["key_id"], line["provider"], line["model"]): nusd(line["total_usd"])
            for line in view["lines"]
        } == by_line
        assert {name: view[name] for name in ("calls", "corrections", "credits")} == {
            name: kinds[name] for name in ("calls", "corrections", "credits")
        }
        for name in ("calls_usd", "corrections_usd", "credits_usd"):
            assert nusd(view[name]) == kinds[name]
            assert sum(nusd(line[name]) for line in view["lines"]) == kinds[name]
        assert view["tokens"].get("input_text", 0) == 1001 * kinds["calls"]
        assert nusd(view["opening_usd"]) == spent
        spent += sum(each.cost_nusd for each in entries)
        assert nusd(view["closing_usd"]) == spent
    account_view = exact(await admin.get("/admin/accounts/a"))
    assert nusd(account_view["spend"]["total_usd"]) == spent == sum(row.cost_nusd for row in posted)


async def test_lines_of_csv_add_up_to_the_statement(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    await LedgerStore(database).post(ledger(4, 30))
    view = await statement(admin, "2026-11")
    path = "/admin/accounts/a/statements/2026-11"
    answer = await admin.get(path, headers={"accept": "text/csv"})
    assert answer.headers["content-disposition"] == (
        'attachment; filename="statement-a-2026-11.csv"'
    )
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert sum(Decimal(row["total_usd"]) for row in rows) == view["total_usd"]
    assert {(row["month"], row["status"]) for row in rows} == {("2026-11", "open")}
    assert (await admin.get(path, params={"format": "csv"})).content == answer.content
    json_answer = await admin.get(path, params={"format": "json"}, headers={"accept": "text/csv"})
    assert exact(json_answer) == view


async def test_a_month_is_open_until_it_is_over_in_the_accounts_zone(
    admin: httpx2.AsyncClient,
) -> None:
    october, november = await statement(admin, "2026-10"), await statement(admin, "2026-11")
    assert (october["status"], october["ends_at"]) == ("closed", "2026-10-31T11:00:00Z")
    assert (november["status"], november["ends_at"]) == ("open", "2026-11-30T11:00:00Z")
    assert (october["lines"], october["total_usd"], october["opening_usd"]) == ([], 0, 0)


async def test_a_line_names_its_key(admin: httpx2.AsyncClient, database: Database) -> None:
    key = (await admin.post("/admin/keys", json={"user_id": "a", "name": "laptop"})).json()
    calls = [at(NOW, 1, key_id=key["key_id"]), at(NOW, 2, key_id="gone")]
    await LedgerStore(database).post(calls)
    lines = (await statement(admin, "2026-11"))["lines"]
    assert {line["key_id"]: line["key_name"] for line in lines} == {
        key["key_id"]: "laptop",
        "gone": None,
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody/statements/2026-11", 404),
        ("a/statements/2026-12", 422),
        ("a/statements/2026-13", 422),
        ("a/statements/november", 422),
        ("a/statements/0001-01", 422),
        ("a/statements/2026-11?format=pdf", 422),
        ("a/statements/2026-11?since=2026-11-01", 422),
    ],
)
async def test_an_invalid_statement_request_is_rejected(
    admin: httpx2.AsyncClient, path: str, status: int
) -> None:
    assert (await admin.get(f"/admin/accounts/{path}")).status_code == status


async def test_a_statement_is_json_or_csv(admin: httpx2.AsyncClient) -> None:
    answer = await admin.get(
        "/admin/accounts/a/statements/2026-11", headers={"accept": "application/pdf"}
    )
    assert answer.status_code == 406
