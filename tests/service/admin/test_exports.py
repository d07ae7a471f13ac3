"""`GET /admin/usage/export`."""

import asyncio
import csv
import http.client
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import chain, cycle, repeat
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import msgspec
import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Scope

from libs.common.errors import RateLimited
from libs.common.schemas.entry import LedgerEntry
from libs.common.slots import Slots
from libs.common.storage.indexes import WORKER_INDEXES
from libs.common.storage.mongo import ledger_reader
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.mongo.entry_filter import EntryFilter
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from services.admin.errors import exception_handlers
from services.admin.exports.encoders import CsvEncoder
from services.admin.exports.formats import CSV
from services.admin.exports.stream import CellRows, ExportResponse
from tests.service.admin.conftest import NOW
from tests.service.admin.test_usage import entry
from tests.support.sockets import serving

PATH = "/admin/usage/export"
CALLS = 4


def another(n: int, **fields: Any) -> LedgerEntry:
    return msgspec.structs.replace(entry(n), **fields)


@pytest.fixture
async def entries(admin: httpx2.AsyncClient, database: Database) -> list[LedgerEntry]:
    for user_id in ("a", "b"):
        await admin.post("/admin/accounts", json={"user_id": user_id})
    october = ("total", "2026-10", "2026-W44", "2026-10-31")
    rows = [
        another(0, client_user="=HYPERLINK(1)", requested_model='say "x",\r\ny', tags=("team:a",)),
        another(1, user_id="b", status="upstream_error", time_zone="Asia/Kolkata"),
        another(2, kind="refund", cost_nusd=-250_000_001, usage=None, status="correction"),
        another(3, periods=october, started_at=NOW - timedelta(days=24)),
    ]
    await LedgerStore(database).post(rows)
    return rows


async def table(admin: httpx2.AsyncClient, **params: str) -> list[dict[str, str]]:
    answer = await admin.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_entries_are_a_file_of_csv(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    answer = await admin.get(PATH, params={"user_id": "a", "since": "2026-11-20"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    disposition = 'attachment; filename="usage-a-2026-11-20.csv"'
    assert answer.headers["content-disposition"] == disposition
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["entry_id"] for row in rows] == [entries[0].entry_id, entries[2].entry_id]
    assert (rows[0]["client_user"], rows[0]["requested_model"]) == (
        "'=HYPERLINK(1)",
        'say "x",\r\ny',
    )
    assert rows[0]["tags"] == '["team:a"]'
    assert rows[0]["started_at"] == "2026-11-24T12:00:00.000+00:00"
    assert (rows[0]["input_text_tokens"], rows[0]["reasoning_tokens"]) == ("1001", "")
    assert rows[1]["cost_usd"] == "-0.250000001"


async def test_the_filters_are_those_of_the_list(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    for params in ({"status": "upstream_error"}, {"kind": "refund"}, {"tag": "team:a"}, {}):
        rows = (await admin.get("/admin/usage", params=params)).json()["data"]
        exported = await table(admin, **params)
        assert [row["entry_id"] for row in exported] == [row["entry_id"] for row in rows]
        assert [Decimal(row["cost_usd"]) for row in exported] == [
            Decimal(str(row["cost_usd"])) for row in rows
        ]
        assert exported


async def test_a_period_is_one_of_each_accounts_zone(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    assert [row["day"] for row in await table(admin, period="2026-10")] == ["2026-10-31"]
    for period in ("2026-11", "2026-W48", "2026-11-24"):
        assert len(await table(admin, period=period)) == len(entries) - 1
    assert await table(admin, period="2026-11", until="2026-11-01") == []


async def test_times_are_in_the_accounts_zone_or_in_the_one_that_is_asked_for(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    (row,) = await table(admin, user_id="b")
    assert (row["started_at"], row["time_zone"]) == (
        "2026-11-24T17:29:00.000+05:30",
        "Asia/Kolkata",
    )
    (row,) = await table(admin, user_id="b", zone="Europe/Berlin")
    assert row["started_at"] == "2026-11-24T12:59:00.000+01:00"


async def test_lines_of_json_have_exact_numbers(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    answer = await admin.get(PATH, headers={"accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.ndjson"'
    rows = [json.loads(line, parse_float=Decimal) for line in answer.content.splitlines()]
    assert [row["entry_id"] for row in rows] == [each.entry_id for each in entries]
    assert rows[2]["cost_usd"] == Decimal("-0.250000001")
    assert (rows[0]["client_user"], rows[0]["tags"]) == ("=HYPERLINK(1)", ["team:a"])


async def test_parquet_has_decimals(admin: httpx2.AsyncClient, entries: list[LedgerEntry]) -> None:
    answer = await admin.get(PATH, params={"format": "parquet"}, headers={"accept": "text/csv"})
    rows = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    assert [row["entry_id"] for row in rows] == [each.entry_id for each in entries]
    assert rows[2]["cost_usd"] == Decimal("-0.250000001")


async def test_an_export_of_nothing_has_its_header(admin: httpx2.AsyncClient) -> None:
    answer = await admin.get(PATH)
    assert answer.text.startswith("entry_id,kind,")
    assert answer.text.count("\r\n") == 1
    assert (await admin.get(PATH, params={"format": "ndjson"})).content == b""


@pytest.mark.parametrize(
    ("params", "accept", "status", "field"),
    [
        ({"format": "xlsx"}, "*/*", 422, "format"),
        ({"period": "2026-13"}, "*/*", 422, "period"),
        ({"period": "total"}, "*/*", 422, "period"),
        ({"period": "0000-01"}, "*/*", 422, "period"),
        ({"zone": "Mars/Base"}, "*/*", 422, "zone"),
        ({"cursor": "x"}, "*/*", 422, "cursor"),
        ({"user_id": "nobody"}, "*/*", 404, "user_id"),
        ({}, "image/png", 406, "format"),
    ],
)
async def test_an_invalid_export_request_is_rejected_by_field(
    admin: httpx2.AsyncClient, params: dict[str, str], accept: str, status: int, field: str
) -> None:
    answer = await admin.get(PATH, params=params, headers={"accept": accept})
    assert answer.status_code == status
    assert field in answer.text
    assert "content-disposition" not in answer.headers


async def test_the_head_of_an_export_has_no_body(
    admin: httpx2.AsyncClient, entries: list[LedgerEntry]
) -> None:
    answer = await admin.head(PATH)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-disposition" in answer.headers


async def test_entries_posted_during_an_export_repeat_or_lose_no_row(database: Database) -> None:
    """Some start in the same millisecond, and pages end among them."""
    store = LedgerStore(database)
    await build_indexes(database, WORKER_INDEXES)
    await database["accounts"].insert_one({"_id": "a"})
    before = [another(n // 3) for n in range(11)]
    rows = [
        msgspec.structs.replace(row, entry_id=f"{row.entry_id[:-2]}{n:02}")
        for n, row in enumerate(before)
    ]
    await store.post(rows)
    ids: list[str] = []
    async for page in store.pages(EntryFilter(), now=NOW, size=2):
        ids += [each.entry_id for each in page]
        n = len(ids)
        if n <= len(rows):
            newer = another(0, entry_id=f"new-{n}", started_at=NOW + timedelta(seconds=n))
            older = another(0, entry_id=f"old-{n}", started_at=NOW - timedelta(days=n))
            await store.post([newer, older])
    assert len(ids) == len(set(ids))
    assert [id_ for id_ in ids if id_[:4] not in ("new-", "old-")] == [
        row.entry_id for row in sorted(rows, key=lambda r: (r.started_at, r.entry_id), reverse=True)
    ]
    assert not [id_ for id_ in ids if id_.startswith("new-")]


class Faltering:
    """A database whose entries cannot be read at times."""

    def __init__(self, database: Database, fails: Iterator[bool]) -> None:
        self._database = database
        self._fails = fails

    def __getitem__(self, name: str) -> Any:
        collection = self._database[name]
        return SimpleNamespace(aggregate=self._aggregate) if name == "entries" else collection

    def _aggregate(self, stages: Any) -> Any:
        if next(self._fails):
            raise PyMongoError("no answer in time")
        return self._database["entries"].aggregate(stages)


async def test_a_page_that_cannot_be_read_is_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_reader, "_LONGEST_PAUSE_S", 0)
    await database["accounts"].insert_one({"_id": "a"})
    await LedgerStore(database).post([another(n) for n in range(9)])

    async def read(fails: Iterable[bool]) -> list[str]:
        faltering = cast("Database", Faltering(database, iter(fails)))
        entry_filter = EntryFilter(since=NOW - timedelta(hours=1))
        pages = LedgerReader(faltering).pages(entry_filter, now=NOW, size=2)
        return [each.entry_id async for page in pages for each in page]

    whole = await read(repeat(False))
    assert len(whole) == 9
    assert await read(cycle([False, True])) == whole
    assert await read(cycle([False, *[True] * 4])) == whole
    for fails in (repeat(True), chain([False], repeat(True)), cycle([False, *[True] * 5])):
        with pytest.raises(PyMongoError):
            await read(fails)


class Exporter:
    """An app with an export of one page that goes on as the test says."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = Slots(slots)
        self.go_on = asyncio.Event()
        self.refusal: Exception | None = None
        self.failure: Exception | None = None
        self.is_closed = asyncio.Event()
        self.app = Starlette(
            routes=[Route("/", self._export)], exception_handlers=exception_handlers()
        )

    async def _export(self, _: Request) -> ExportResponse:
        return ExportResponse(self._pages(), CsvEncoder(["n"]), CSV, "n", self.slots)

    async def _pages(self) -> AsyncIterator[CellRows]:
        try:
            if self.refusal is not None:
                raise self.refusal
            yield [[1]]
            await self.go_on.wait()
            if self.failure is not None:
                raise self.failure
            yield [[2]]
        finally:
            self.is_closed.set()

    @property
    def is_free(self) -> bool:
        if self.slots.take_free():
            self.slots.release()
            return True
        return False


async def test_an_export_that_breaks_off_does_not_pass_for_a_whole_one() -> None:
    exporter = Exporter()
    exporter.failure = PyMongoError("MongoDB went away")
    exporter.go_on.set()

    def read(url: str) -> bytes:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        try:
            connection.request("GET", "/")
            return connection.getresponse().read()
        finally:
            connection.close()

    async with serving(exporter.app) as url:
        with pytest.raises(http.client.IncompleteRead) as raised:
            await asyncio.to_thread(read, url)
        assert raised.value.partial == b"n\r\n1\r\n"
        assert exporter.is_free
        exporter.failure = None
        assert await asyncio.to_thread(read, url) == b"n\r\n1\r\n2\r\n"


async def test_few_exports_are_sent_at_a_time() -> None:
    exporter = Exporter()
    transport = httpx2.ASGITransport(exporter.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        first = asyncio.create_task(client.get("/"))
        while exporter.is_free:
            await asyncio.sleep(0)
        second = await client.get("/")
        assert (second.status_code, second.json()["code"]) == (429, RateLimited.code)
        assert "retry-after" in second.headers
        exporter.go_on.set()
        assert (await first).content == b"n\r\n1\r\n2\r\n"
        assert (await client.get("/")).status_code == 200


async def test_a_client_that_leaves_frees_its_place() -> None:
    exporter = Exporter()
    sent = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.set()

    async def receive() -> Message:
        await sent.wait()
        return {"type": "http.disconnect"}

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
    }
    await exporter.app(scope, receive, send)
    await exporter.is_closed.wait()
    assert exporter.is_free


async def test_an_export_that_cannot_begin_has_an_answer() -> None:
    exporter = Exporter()
    exporter.refusal = PyMongoError("MongoDB is away")
    transport = httpx2.ASGITransport(exporter.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/")).status_code == 503
    assert exporter.is_free
