"""`/admin/usage/user/{user_id}`."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

from libs.common.domain.entries import entry_of
from libs.common.domain.ids import uuid7
from libs.common.domain.traces import trace_id_of
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.price import PriceVersion, Rates
from libs.common.schemas.usage import TokenUsage, UsageEvent
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.entry_filter import EntryFilter
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from tests.service.admin.conftest import NOW
from tests.service.admin.problems import wrong_fields
from tests.service.admin.test_accounts import exact

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# A call without a client's trace.
TRACED = "0193527a-2cb4-794c-b783-170073f70ba4"
PRICE = PriceVersion(
    price_id="price_1",
    model="m",
    effective_from=datetime(2020, 1, 1, tzinfo=UTC),
    rates=Rates(input=Decimal("0.15"), output=Decimal(3)),
    web_search=Decimal("0.01"),
    created_at=datetime(2020, 1, 1, tzinfo=UTC),
)


def entry(n: int, *, user_id: str = "a", model: str = "m", key_id: str = "key_1") -> LedgerEntry:
    """Of a call that was made n minutes before NOW."""
    started_at = NOW - timedelta(minutes=n)
    event = UsageEvent(
        call_id=uuid7(int(started_at.timestamp() * 1000), bytes(10)),
        user_id=user_id,
        key_id=key_id,
        started_at=started_at,
        format="chat",
        requested_model=model,
        provider="acme",
        model=model,
        status="ok",
        http_status=200,
        usage=TokenUsage(input_text=1001, cache_read=0, output_text=7, web_searches=1),
        usage_source="provider",
        held_nusd=50_000_000,
        latency_ms=12,
    )
    ledger_entry = entry_of(event, {("acme", model): PRICE}, NOW)
    assert isinstance(ledger_entry, LedgerEntry)
    return ledger_entry


@pytest.fixture(autouse=True)
async def accounts(admin: httpx2.AsyncClient) -> None:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})


# `entry(1)` as it is shown, without the ids that follow from its own.
EXPLAINED: dict[str, Any] = {
    "kind": "call",
    "corrects": None,
    "reason": None,
    "made_by": None,
    "seq": 1,
    "user_id": "a",
    "key_id": "key_1",
    "started_at": "2026-11-24T11:59:00Z",
    "posted_at": "2026-11-24T12:00:00Z",
    "time_zone": "UTC",
    "periods": ["total", "2026-11", "2026-W48", "2026-11-24"],
    "format": "chat",
    "operation": "create",
    "requested_model": "m",
    "provider": "acme",
    "model": "m",
    "translated": False,
    "stream": False,
    "status": "ok",
    "http_status": 200,
    "error_code": None,
    "usage": {
        "input_text": 1001,
        "cache_read": 0,
        "output_text": 7,
        "web_searches": 1,
    },
    "usage_source": "provider",
    "cost_usd": Decimal("0.01017115"),
    "held_usd": Decimal("0.05"),
    "lines": [
        {
            "item": "input_text",
            "quantity": 1001,
            "rate_usd": Decimal("0.15"),
            "per": 1_000_000,
            "amount_usd": Decimal("0.00015015"),
        },
        {
            "item": "output_text",
            "quantity": 7,
            "rate_usd": 3,
            "per": 1_000_000,
            "amount_usd": Decimal("0.000021"),
        },
        {
            "item": "web_search",
            "quantity": 1,
            "rate_usd": Decimal("0.01"),
            "per": 1,
            "amount_usd": Decimal("0.01"),
        },
    ],
    "multiplier": 1,
    "account_multiplier": 1,
    "deployment_multiplier": 1,
    "priced_as": None,
    "price_id": "price_1",
    "price_notes": [],
    "latency_ms": 12,
    "first_byte_ms": None,
    "overhead_ms": None,
    "deployment": None,
    "attempts": 0,
    "failed_attempts": [],
    "provider_request_id": None,
    "asked_after_ms": None,
    "response_id": None,
    "objects": [],
    "client_user": None,
    "tags": [],
}


def view_of(row: LedgerEntry) -> dict[str, Any]:
    """As `entry(1)` is shown."""
    ids = {"entry_id": row.entry_id, "trace_id": trace_id_of(row.entry_id)}
    return EXPLAINED | ids


async def test_an_entry_explains_its_cost(admin: httpx2.AsyncClient, database: Database) -> None:
    posted = entry(1)
    await LedgerStore(database).post([posted])
    answer = exact(await admin.get("/admin/usage/user/a"))
    assert answer == {
        "user_id": "a",
        "spend": {
            "total_usd": Decimal("0.01017115"),
            "budgets": [],
            "period": None,
            "period_usd": None,
            "period_ends_at": None,
            "held_usd": 0,
            "remaining_usd": None,
        },
        "data": [view_of(posted)],
        "next_cursor": None,
        "previous_cursor": None,
    }


async def test_entries_come_in_pages_the_newest_first(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    entries = [entry(n) for n in range(7)]
    await LedgerStore(database).post([*reversed(entries), entry(8, user_id="b")])
    ids: list[str] = []
    sizes = []
    params: dict[str, Any] = {"limit": 3}
    while True:
        page = (await admin.get("/admin/usage/user/a", params=params)).json()
        ids += [row["entry_id"] for row in page["data"]]
        sizes.append(len(page["data"]))
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert ids == [each.entry_id for each in entries]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"model": "n"},
        {"key_id": "key_2"},
        {"above_usd": 0},
        {"status": "ok"},
        {"client_user": "u"},
        {"client_user": "u", "model": "n"},
    ],
)
@pytest.mark.parametrize("path", ["/admin/usage", "/admin/usage/user/a"])
async def test_pages_of_entries_lead_back(
    admin: httpx2.AsyncClient, database: Database, path: str, params: dict[str, Any]
) -> None:
    calls = [entry(n // 2, model="mn"[n % 2], key_id=f"key_{n % 3}") for n in range(9)]
    # Two of them started at the same moment.
    users: list[Any] = ["u", "u", None]
    entries = [
        msgspec.structs.replace(each, entry_id=f"entry-{n}", client_user=users[n % 3])
        for n, each in enumerate(calls)
    ]
    await LedgerStore(database).post(entries)

    async def page(**more: Any) -> dict[str, Any]:
        answer = await admin.get(path, params={**params, "limit": 2, **more})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    there = [await page()]
    assert there[0]["previous_cursor"] is None
    while there[-1]["next_cursor"] is not None:
        there.append(await page(cursor=there[-1]["next_cursor"]))
    back = [there[-1]]
    while back[-1]["previous_cursor"] is not None:
        back.append(await page(cursor=back[-1]["previous_cursor"]))
    actual, expected = (
        [row["entry_id"] for each in pages for row in each["data"]] for pages in (back[::-1], there)
    )
    assert actual == expected != []
    again = await page(cursor=back[-1]["next_cursor"])
    assert again["data"] == there[1]["data"]


@pytest.mark.parametrize(
    ("params", "minutes"),
    [
        ({"model": "n"}, [1, 3]),
        ({"model": "unheard-of"}, []),
        ({"key_id": "key_2"}, [2, 3]),
        ({"model": "n", "key_id": "key_2"}, [3]),
        # `since` is inclusive, `until` is not.
        ({"since": "2026-11-24T11:58:00Z"}, [0, 1, 2]),
        ({"until": "2026-11-24T12:58:00+01:00"}, [3]),
        ({"since": "2026-11-24T11:58:00Z", "until": "2026-11-24T11:59:00Z"}, [2]),
        ({"since": "2026-11-24T11:57:00Z", "model": "n", "limit": "1"}, [1]),
    ],
)
async def test_entries_are_filtered(
    admin: httpx2.AsyncClient, database: Database, params: dict[str, str], minutes: list[int]
) -> None:
    rows = [
        entry(0),
        entry(1, model="n"),
        entry(2, key_id="key_2"),
        entry(3, model="n", key_id="key_2"),
    ]
    await LedgerStore(database).post(rows)
    answer = await admin.get("/admin/usage/user/a", params=params)
    assert answer.status_code == 200, answer.text
    found = [row["entry_id"] for row in answer.json()["data"]]
    assert found == [rows[n].entry_id for n in minutes]


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"since": "yesterday", "until": "2026-11-24T00:00:00"}, {"since", "until"}),
        ({"limit": "0", "model": "", "modle": "m"}, {"limit", "model", "modle"}),
        ({"since": "2026-11-24T00:00:00Z", "until": "2026-11-24T00:00:00Z"}, {"until"}),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_invalid_filter_is_named(
    shared_admin: httpx2.AsyncClient, params: dict[str, str], fields: set[str]
) -> None:
    answer = await shared_admin.get("/admin/usage/user/a", params=params)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == fields


async def test_an_unknown_user_is_not_found(admin: httpx2.AsyncClient) -> None:
    assert (await admin.get("/admin/usage/user/a")).json()["data"] == []
    assert (await admin.get("/admin/usage/user/nobody")).status_code == 404


def another(n: int, **fields: Any) -> LedgerEntry:
    return msgspec.structs.replace(entry(n), **fields)


FILTERS: list[tuple[dict[str, str], list[int]]] = [
    ({}, [0, 1, 2, 3]),
    ({"user_id": "b"}, [1]),
    # The name that was asked for, the one routed to, and with its provider.
    ({"model": "house/best"}, [2]),
    ({"model": "grok"}, [2]),
    ({"model": "xai/grok"}, [2]),
    ({"model": "acme/grok"}, []),
    ({"provider": "xai"}, [2]),
    ({"deployment": "dep_1"}, [2]),
    ({"status": "upstream_error"}, [3]),
    ({"error_code": "upstream_timeout"}, [3]),
    ({"kind": "refund"}, []),
    ({"usage_source": "estimated"}, [3]),
    ({"client_user": "$where"}, [0]),
    ({"provider_request_id": "req_1"}, [1]),
    ({"trace_id": TRACE}, [0, 3]),
    ({"trace_id": TRACE, "status": "ok"}, [0]),
    ({"trace_id": TRACE[:-1] + "f"}, []),
    ({"trace_id": "%"}, []),
    ({"trace_id": trace_id_of(TRACED)}, [2]),
    ({"trace_id": trace_id_of(TRACED), "model": "xai/grok"}, [2]),
    ({"trace_id": trace_id_of(TRACED), "kind": "refund"}, []),
    ({"key_id": "key_9"}, [0]),
    ({"above_usd": "0.01017115"}, [2]),
    ({"tag": "team:$ne"}, [0]),
    ({"tag": "team"}, []),
    ({"tag": "beta"}, [0, 3]),
    ({"above_usd": "0.010171149"}, [0, 1, 2, 3]),
    ({"since": "2026-11-24T11:58:00Z", "until": "2026-11-24T12:00:00Z"}, [1, 2]),
]


async def test_usage_of_all_accounts_is_filtered(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    rows = [
        another(
            0,
            key_id="key_9",
            client_user="$where",
            tags=("team:$ne", "beta"),
            traceparent=f"00-{TRACE}-{'1' * 16}-01",
        ),
        another(1, user_id="b", provider_request_id="req_1"),
        another(
            2,
            entry_id=TRACED,
            requested_model="house/best",
            provider="xai",
            model="grok",
            deployment="dep_1",
            cost_nusd=99_000_000,
        ),
        another(
            3,
            status="upstream_error",
            error_code="upstream_timeout",
            usage_source="estimated",
            tags=("beta",),
            traceparent=f"00-{TRACE}-{'2' * 16}-00",
        ),
    ]
    await LedgerStore(database).post(rows)
    for params, minutes in FILTERS:
        answer = await admin.get("/admin/usage", params=params)
        assert answer.status_code == 200, (params, answer.text)
        found = [row["entry_id"] for row in answer.json()["data"]]
        assert found == [rows[n].entry_id for n in minutes], params


async def test_pages_of_all_accounts_have_each_entry_once(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    """Also where calls started in the same millisecond."""
    rows = [another(n // 3, entry_id=f"{n:08}", user_id="ab"[n % 2]) for n in range(9)]
    await LedgerStore(database).post(rows)
    ids: list[str] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await admin.get("/admin/usage", params=params)).json()
        ids += [row["entry_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    order = [2, 1, 0, 5, 4, 3, 8, 7, 6]
    assert ids == [rows[n].entry_id for n in order]


@pytest.mark.parametrize("user_id", [None, "a"])
async def test_a_page_looks_at_a_bounded_number_of_entries(
    database: Database, user_id: str | None
) -> None:
    """What is not found at once is found in steps, each of which goes on where the last ended."""
    rows = [another(n, provider="xai" if n == 8 else "acme") for n in range(11)]
    await LedgerStore(database).post(rows)
    reader = LedgerReader(database, looked_at=3)
    entry_filter = EntryFilter(user_id=user_id, provider="xai")
    pages: list[list[str]] = []
    while True:
        page = await reader.list(entry_filter, now=NOW, limit=5)
        pages.append([each.entry_id for each in page.entries])
        if page.last is None:
            break
        entry_filter = msgspec.structs.replace(entry_filter, before=page.last)
    assert pages == [[], [], [rows[8].entry_id], []]


async def test_calls_with_a_rare_status_fill_one_page(database: Database) -> None:
    """Years apart, too: an index of its own has them in order."""
    rows = [another(n, status="upstream_error" if n % 8 == 0 else "ok") for n in range(17)]
    rows[16] = msgspec.structs.replace(rows[16], started_at=NOW - timedelta(days=2000))
    await LedgerStore(database).post(rows)
    reader = LedgerReader(database, looked_at=3)
    entry_filter = EntryFilter(status="upstream_error")
    page = await reader.list(entry_filter, now=NOW, limit=5)
    assert [each.entry_id for each in page.entries] == [rows[n].entry_id for n in (0, 8, 16)]
    assert page.last is None
    both = msgspec.structs.replace(entry_filter, provider="xai")
    page = await reader.list(both, now=NOW, limit=5)
    assert page.entries == []


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"status": "fine", "kind": "call", "tags": "x"}, {"status", "tags"}),
        ({"above_usd": "NaN", "user_id": "a b"}, {"above_usd", "user_id"}),
        ({"model": "m\n"}, {"model"}),
        ({"tag": ":x"}, {"tag"}),
    ],
)
async def test_wrong_filters_of_all_accounts_are_named(
    admin: httpx2.AsyncClient, params: dict[str, str], fields: set[str]
) -> None:
    answer = await admin.get("/admin/usage", params=params)
    assert answer.status_code == 422
    assert set(wrong_fields(answer)) == fields


async def test_usage_of_an_unknown_account_is_not_found(admin: httpx2.AsyncClient) -> None:
    answer = await admin.get("/admin/usage", params={"user_id": "nobody"})
    assert (answer.status_code, list(wrong_fields(answer))) == (404, ["user_id"])
