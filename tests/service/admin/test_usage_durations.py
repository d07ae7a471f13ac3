"""`/admin/usage/durations`: how long the newest calls took."""

from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from services.admin.usage_durations import spread
from tests.service.admin.console import browser_of
from tests.service.admin.test_console import make
from tests.unit import builders

PATH = "/admin/usage/durations"


@pytest.mark.parametrize(
    ("durations", "median", "p95"),
    [([7], 7, 7), ([1, 2], 1, 2), (list(range(1, 101)), 50, 95), ([None, 0, 2.25, 3], 2.2, 3)],
)
def test_a_figure_is_that_of_one_of_the_calls(
    durations: list[float | None], median: float, p95: float
) -> None:
    found = spread(durations)
    assert found is not None
    assert (float(found.median), float(found.p95)) == (median, p95)


@pytest.fixture
async def calls(admin: httpx2.AsyncClient, database: Database) -> None:
    """Of the account a: 205 calls a minute apart, of 5 ms to 209 ms, the newest the slowest."""
    await make(admin, "accounts", user_id="a")
    await make(admin, "accounts", user_id="b")
    start = builders.NOW - timedelta(hours=20)
    entries = [
        builders.entry(
            f"call-{number}", user_id="a", started_at=start + timedelta(minutes=number),
            latency_ms=number + 5, first_byte_ms=None, overhead_ms=1.25,
        )
        for number in range(205)
    ]  # fmt: skip
    for first in range(0, len(entries), 50):
        await LedgerStore(database).post(entries[first : first + 50])


@pytest.mark.usefixtures("calls")
async def test_the_newest_calls_of_a_period_are_looked_at(
    admin: httpx2.AsyncClient, app: Starlette
) -> None:
    start = builders.NOW - timedelta(hours=20)
    until = (start + timedelta(minutes=201)).isoformat()
    durations = (await admin.get(PATH, params={"user_id": "a", "until": until})).json()
    assert durations == {
        "calls": 100,
        "latency_ms": {"median": 155, "p95": 200},
        "first_byte_ms": None,
        "overhead_ms": {"median": 1.2, "p95": 1.2},
    }
    since = (start + timedelta(minutes=203)).isoformat()
    late = (await admin.get(PATH, params={"since": since})).json()
    assert (late["calls"], late["latency_ms"]) == (2, {"median": 208, "p95": 209})
    none = (await admin.get(PATH, params={"user_id": "b"})).json()
    assert (none["calls"], none["latency_ms"]) == (0, None)
    assert (await admin.get(PATH, params={"user_id": "c"})).status_code == 404
    async with browser_of(app) as browser:
        page = (await browser.get("/console")).text
    assert "of the newest 100 calls;" in page
    assert "204 ms" in page


async def test_a_period_that_ends_before_it_begins_is_refused(admin: httpx2.AsyncClient) -> None:
    query = {"since": "2026-11-24T00:00:00Z", "until": "2026-11-23T00:00:00Z"}
    assert (await admin.get(PATH, params=query)).status_code == 422
