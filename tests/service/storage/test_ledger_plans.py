"""What is asked often is answered through an index: nothing reads all entries.

Left out is what MongoDB plans and the stand-in does not: ranges of `_id` alone, and an index whose
rows are filtered further (a start time beside the account).
"""

from datetime import timedelta
from typing import Any, cast

import pytest

from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.driver import Collection, Database, Document, to_document
from libs.common.storage.mongo.entry_filter import RARE, EntryFilter
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.mongo.rollup_filter import RollupFilter
from tests.unit.builders import NOW, api_key, entry, price

# Entries of the same millisecond, after one of them.
AT_ONCE: Document = {"started_at": NOW, "_id": {"$lt": "b"}}
_RARE: tuple[dict[str, Any], ...] = (
    {"error_code": "timeout"},
    {"client_user": "u"},
    {"kind": "refund"},
    {"status": "refused"},
    {"status": "abandoned"},
    {"usage_source": "none"},
    {"tag": "team:a"},
)
BUDGET: Document = {"limit_nusd": 1, "period": "daily"}
_DAYS: dict[str, Any] = {"since": NOW.date(), "until": NOW.date()}


def bounds_of(query: Document) -> Document:
    """Of a query whose rows are filtered further: what bounds the rows of an index."""
    bounds: Document = {
        name: query[name] for name in ("user_id", "started_at", "day") if name in query
    }
    assert bounds
    return bounds


PLANS: list[tuple[str, dict[str, Any]]] = [
    # Posting: which of the batch's entries exist; the accounts' counts.
    ("entries", {"_id": {"$in": ["a", "b"]}}),
    ("accounts", {"_id": {"$in": ["a", "b"]}}),
    # Spend, for admission and settling.
    ("spend", {"_id": {"$in": ["a|total", "b|total"]}}),
    ("spend", {"user_id": "a", "period": {"$gte": "2026-10"}}),
    ("rollups", {"user_id": "a", "key_id": "k", "day": {"$gte": "2026-11-01"}}),
    # Usage, with and without an account, a cursor; the call of a provider's request.
    ("entries", {"user_id": "a"}),
    ("entries", EntryFilter(user_id="a", since=NOW, until=NOW).in_order()),
    ("entries", EntryFilter(user_id="a", since=NOW, kind="refund").queries()[0].lead),
    ("entries", EntryFilter(since=NOW).in_order()),
    ("entries", EntryFilter(since=NOW, until=NOW, model="m", status="ok").queries()[0].lead),
    ("entries", EntryFilter(provider_request_id="a", user_id="a").queries()[0].lead),
    *(("entries", query.lead) for query in EntryFilter(trace_id="0" * 31 + "1").queries()),
    ("entries", AT_ONCE),
    # Of all accounts, by what few calls have.
    *(("entries", EntryFilter(since=NOW, until=NOW, **rare).in_order()) for rare in _RARE),
    # Sums of usage: of all accounts, one, a key, a model, some groups.
    ("rollups", RollupFilter(**_DAYS).query()),
    ("rollups", RollupFilter(**_DAYS, user_id="a").query()),
    ("rollups", RollupFilter(**_DAYS, user_id="a", key_id="k").query()),
    ("rollups", bounds_of(RollupFilter(**_DAYS, model="m").query())),
    ("rollups", bounds_of(RollupFilter(**_DAYS, model="acme/m").query())),
    ("rollups", bounds_of(RollupFilter(**_DAYS, among=("model", ("", "m"))).query())),
    ("rollup_segments", {"level": "accounts"} | RollupFilter(**_DAYS).query()),
    # The proof: a stretch of an account's entries, its periods and days; the accounts themselves.
    ("entries", {"user_id": "a", "seq": {"$gt": 3, "$lte": 9}}),
    ("entries", {"user_id": "a", "seq": None}),
    ("entries", {"user_id": {"$gt": "a", "$lt": "b"}}),
    ("spend", {"user_id": "a"}),
    ("rollups", {"user_id": "a", "day": {"$in": ["2026-11-24"]}}),
    # Whose a response is, or another object.
    ("entries", {"response_id": {"$in": ["r", "s"]}}),
    ("entries", {"objects": {"$in": ["r", "s"]}}),
    # Corrections: those of some entries; those that wait for a price.
    ("entries", {"corrects": {"$in": ["a", "b"]}}),
    ("unpriced", {"provider": "p", "model": "m", "_id": {"$gt": "a"}}),
    ("dead_letters", {"replayed_at": None, "_id": {"$gt": "a"}}),
    # An import's versions, to show or to end them; the prices with patterns.
    ("prices", {"import_id": "a"}),
    ("prices", {"import_id": "a", "_id": {"$gt": "b"}}),
    ("prices", {"has_pattern": True}),
    # Whose a secret is, and a replaced one.
    ("keys", {"secret_hash": "a"}),
    ("keys", {"old_secrets.secret_hash": "a"}),
    # Which of a posting's keys have budgets.
    ("keys", {"budgets.period": {"$gt": ""}}),
    # Lists: an account's keys, those with a prefix, accounts by their time.
    ("keys", {"user_id": "a", "_id": {"$gt": "a"}}),
    ("keys", {"prefix": "a"}),
    ("keys", {"old_secrets.prefix": "a"}),
    ("accounts", {"created_at": {"$gt": NOW}}),
]


@pytest.mark.parametrize(("collection", "query"), PLANS)
async def test_a_query_is_served_by_an_index(
    database: Database, collection: str, query: dict[str, Any]
) -> None:
    await build_indexes(database, INDEXES)
    await database[collection].insert_many(
        [
            {
                "_id": f"{n}",
                "user_id": f"{n}",
                "seq": n,
                "secret_hash": f"{n}",
                "started_at": NOW + timedelta(days=n),
            }
            for n in range(20)
        ]
    )
    await assert_indexed(database[collection], query)


async def test_a_price_is_looked_up_through_indexes_alone(database: Database) -> None:
    await build_indexes(database, INDEXES)
    recording = RecordingCollection(database["prices"])
    store = PriceStore(cast("Database", {"prices": recording}))
    await PriceStore(database).insert_many(
        [price(f"m{n}", aliases=(f"alias-{n}",)) for n in range(20)]
    )
    assert [found.model for found in await store.versions_of(["alias-3"])] == ["m3"]
    assert len(recording.queries) == 3
    for query in recording.queries:
        await assert_indexed(database["prices"], query)


async def test_few_prices_are_looked_up_by_one_read_and_many_through_indexes(
    database: Database,
) -> None:
    await build_indexes(database, INDEXES)
    recording, times = RecordingCollection(database["prices"]), [0.0]
    store = PriceStore(cast("Database", {"prices": recording}), clock=lambda: times[-1])
    assert await store.candidates(["m1"]) == []
    assert len(recording.queries) == 1
    await PriceStore(database).insert_many([price(f"m{n}") for n in range(100)])
    # They are counted by the minute.
    for now, queries in ((59.0, 1), (60.0, 3)):
        times.append(now)
        recording.queries.clear()
        assert [found.model for found in await store.candidates(["m1"])] == ["m1"]
        assert len(recording.queries) == queries
    for query in recording.queries:
        await assert_indexed(database["prices"], query)


async def test_one_read_of_an_index_tells_that_no_key_of_many_has_a_budget(
    database: Database,
) -> None:
    await build_indexes(database, INDEXES)
    await database["keys"].insert_many(
        [to_document(api_key(f"{n}"), key="key_id") for n in range(20)]
    )
    recording = RecordingCollection(database["keys"])
    store = KeyStore(cast("Database", {"keys": recording}))
    assert await store.budgeted(f"{n}" for n in range(500)) == []
    (query,) = recording.queries
    # Some servers take the index of the condition that comes first.
    name, condition = next(iter(query.items()))
    assert name == "budgets.period"
    await assert_indexed(database["keys"], {name: condition})
    # Where many have, ids come first, and some at a time.
    await database["keys"].update_many({}, {"$set": {"budgets": [BUDGET]}})
    for _ in range(2):
        recording.queries.clear()
        assert len(await store.budgeted(f"{n}" for n in range(20))) == 20
    recording.queries.clear()
    assert len(await store.budgeted(f"{n}" for n in range(100))) == 20
    assert [next(iter(query)) for query in recording.queries] == ["_id"] * 3


def test_an_ordinary_call_has_no_place_among_the_rare() -> None:
    """Else each posting would pay for all of them."""
    ordinary = entry("a")
    for name, side, bound in RARE:
        value = getattr(ordinary, name)
        assert not value or not (value > bound if side == "above" else value < bound)
    assert EntryFilter(status="ok", kind="call", usage_source="provider").rare is None
    # Of one account, its own index is used.
    assert EntryFilter(user_id="a", status="refused").rare is None


class RecordingCollection:
    """A collection that keeps its queries."""

    def __init__(self, collection: Collection) -> None:
        self.queries: list[Document] = []
        self._collection = collection

    def find(self, query: Document, *more: Any) -> Any:
        self.queries.append(query)
        return self._collection.find(query, *more)

    async def estimated_document_count(self) -> int:
        return await self._collection.estimated_document_count()


async def assert_indexed(collection: Collection, query: Document) -> None:
    explained = await collection.find(query).explain()
    stages = stages_of(explained["queryPlanner"]["winningPlan"])
    assert "COLLSCAN" not in stages
    assert stages & {"IXSCAN", "IDHACK", "CLUSTERED_IXSCAN", "EXPRESS_IXSCAN"}


def stages_of(plan: dict[str, Any]) -> set[str]:
    inner = [plan["inputStage"]] if "inputStage" in plan else plan.get("inputStages", [])
    return {plan["stage"]}.union(*map(stages_of, inner))


async def test_the_check_finds_a_query_without_an_index(database: Database) -> None:
    await build_indexes(database, INDEXES)
    explained = await database["entries"].find({"latency_ms": 5}).explain()
    assert "COLLSCAN" in stages_of(explained["queryPlanner"]["winningPlan"])
