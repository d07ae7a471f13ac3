"""Alerts that postings bring about: written with them, once per fact and receiver."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.outbox import Outbox
from libs.common.schemas.account import Budget
from libs.common.schemas.alert import Delivery
from libs.common.schemas.key import ApiKey
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.driver import Session, open_session
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from services.ledger_worker.alerts.postings import PostingWatch
from services.ledger_worker.poster import Poster
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    make_event,
    make_events,
)
from tests.support.receivers import list_deliveries, receiver

URL = "https://hooks.example/alerts"
MONTHLY = Budget(limit_nusd=10 * CALL_NUSD, period="monthly", alert_percents=(25, 50, 100))


@pytest.fixture
async def store(stage: Stage) -> AlertStore:
    await ReceiverStore(stage.database).insert(receiver("rcv_1", URL))
    return AlertStore(stage.database)


def watch_of(stage: Stage) -> PostingWatch:
    outbox = Outbox(AlertStore(stage.database), ReceiverStore(stage.database))
    return PostingWatch(outbox, LedgerReader(stage.database), KeyStore(stage.database))


async def post(stage: Stage, *events: UsageEvent, watch: PostingWatch | None = None) -> None:
    async with open_session(stage.database) as session:
        poster = Poster(
            ledger=LedgerStore(stage.database, watch=watch or watch_of(stage)),
            session=session,
            prices=PriceBook(stage.prices, PriceMap(b"{}")),
            settler=stage.settler,
            metrics=stage.metrics,
            now=lambda: NOW,
        )
        assert await poster.write([list(events)]) == [{}]


async def limit(stage: Stage, *budgets: Budget, user_id: str = "alice") -> None:
    await stage.accounts.update(user_id, {"budgets": msgspec.to_builtins(budgets)}, NOW)


async def deliveries(store: AlertStore) -> list[Delivery]:
    found = await list_deliveries(store)
    return sorted(found, key=lambda each: (each.kind, data_of(each).get("percent") or 0))


def data_of(delivery: Delivery) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(delivery.body)["data"]
    return data


async def percents(store: AlertStore) -> list[int | None]:
    return [data_of(d)["percent"] for d in await deliveries(store) if "percent" in data_of(d)]


async def test_each_threshold_is_reported_once_per_period(stage: Stage, store: AlertStore) -> None:
    await limit(stage, MONTHLY)
    watch = watch_of(stage)
    await post(stage, *make_events(2), watch=watch)
    assert await deliveries(store) == []
    await post(stage, make_event(), watch=watch)
    assert await percents(store) == [25]
    # Neither further postings nor a worker that has just started tell it again.
    await post(stage, make_event(), watch=watch)
    await post(stage, *make_events(2))
    assert await percents(store) == [25, 50]
    [first, _] = await deliveries(store)
    assert first.kind == "budget.threshold_reached"
    assert first.user_id == "alice"
    body = msgspec.json.decode(first.body.encode(), type=dict[str, Any])
    assert (body["type"], body["timestamp"]) == (first.kind, "2026-11-24T12:00:00Z")
    assert msgspec.json.decode(first.body, type=dict[str, msgspec.Raw])["data"] == msgspec.Raw(
        b'{"version":1,"user_id":"alice","key_id":null,"period":"monthly","current":"2026-11",'
        b'"ends_at":"2026-12-01T00:00:00Z","limit_usd":0.045,"spent_usd":0.0135,'
        b'"threshold_usd":0.01125,"percent":25}'
    )


async def test_several_at_once_and_the_limit_itself(stage: Stage, store: AlertStore) -> None:
    total = Budget(limit_nusd=10 * CALL_NUSD, period="total", soft_limit_nusd=CALL_NUSD)
    await limit(stage, MONTHLY, total)
    await post(stage, *make_events(10))
    alerts = await deliveries(store)
    kinds = [(d.kind, data_of(d)["period"], data_of(d).get("percent")) for d in alerts]
    assert sorted(kinds, key=str) == [
        ("budget.exhausted", "monthly", None),
        ("budget.exhausted", "total", None),
        ("budget.threshold_reached", "monthly", 100),
        ("budget.threshold_reached", "monthly", 25),
        ("budget.threshold_reached", "monthly", 50),
        ("budget.threshold_reached", "total", None),
    ]
    # What is told of a budget that never ends must be remembered for good.
    forever = {d.expires_at is None for d in alerts if "total" in d.body}
    assert forever == {True}


async def test_a_refused_call_shows_that_a_budget_is_nearly_spent(
    stage: Stage, store: AlertStore
) -> None:
    refusal: dict[str, Any] = {
        "status": "rejected",
        "http_status": 402,
        "error_code": "budget_exceeded",
        "usage": None,
        "usage_source": "none",
    }
    await limit(stage, Budget(limit_nusd=10 * CALL_NUSD, period="daily"))
    await post(stage, make_event(**refusal), *make_events(8))
    # A call that was too large, at 80 percent.
    assert await deliveries(store) == []
    await post(stage, make_event())
    refused = make_event(**refusal)
    await post(stage, refused, make_event(**refusal))
    [alert] = await deliveries(store)
    assert alert.kind == "budget.exhausted"
    assert data_of(alert)["refused_call_id"] == refused.call_id
    assert Decimal(str(data_of(alert)["spent_usd"])) == Decimal("0.0405")


async def test_a_budget_of_a_key_and_a_raised_limit(stage: Stage, store: AlertStore) -> None:
    key = ApiKey(
        key_id="key-1",
        user_id="alice",
        name="ci",
        prefix="sk-gw-1",
        secret_hash="h",
        budgets=(Budget(limit_nusd=2 * CALL_NUSD, period="daily", alert_percents=(50,)),),
        created_at=NOW,
        updated_at=NOW,
    )
    await KeyStore(stage.database).insert(key)
    await post(stage, make_event(key_id="key-2"), make_event())
    [alert] = await deliveries(store)
    assert (data_of(alert)["key_id"], data_of(alert)["spent_usd"]) == ("key-1", 0.0045)
    raised = Budget(limit_nusd=4 * CALL_NUSD, period="daily", alert_percents=(50,))
    await KeyStore(stage.database).update("key-1", {"budgets": msgspec.to_builtins((raised,))}, NOW)
    await post(stage, make_event())
    assert await percents(store) == [50, 50]


async def test_receivers_get_what_they_want(stage: Stage, store: AlertStore) -> None:
    receivers = ReceiverStore(stage.database)
    await receivers.insert(receiver("rcv_bob", URL, user_ids=("bob",)))
    await receivers.insert(receiver("rcv_kind", URL, kinds=("budget.exhausted",)))
    await receivers.insert(receiver("rcv_off", URL, enabled=False))
    for user_id in ("alice", "bob"):
        await limit(stage, MONTHLY, user_id=user_id)
    await post(stage, *make_events(3), *make_events(10, "bob"))
    by_receiver: dict[str, list[tuple[str, str | None]]] = {}
    for delivery in await deliveries(store):
        by_receiver.setdefault(delivery.receiver_id, []).append((delivery.kind, delivery.user_id))
    assert by_receiver.keys() == {"rcv_1", "rcv_bob", "rcv_kind"}
    assert len(by_receiver["rcv_1"]) == 5
    assert {user_id for _, user_id in by_receiver["rcv_bob"]} == {"bob"}
    assert by_receiver["rcv_kind"] == [("budget.exhausted", "bob")]
    ids = [delivery.alert_id for delivery in await deliveries(store)]
    assert len(set(ids)) == len(ids)


async def test_without_receivers_no_posting_reads_more(stage: Stage) -> None:
    """And an account without budgets costs a posting no read of its spend."""
    reads: list[str] = []

    class Counting(LedgerReader):
        async def spend_with_revisions(self, *arguments: Any) -> Any:
            reads.append("spend")
            return await super().spend_with_revisions(*arguments)

    class CountingKeys(KeyStore):
        async def budgeted(self, *arguments: Any) -> Any:
            reads.append("keys")
            return await super().budgeted(*arguments)

    def watch() -> PostingWatch:
        outbox = Outbox(AlertStore(stage.database), ReceiverStore(stage.database))
        return PostingWatch(outbox, Counting(stage.database), CountingKeys(stage.database))

    await limit(stage, MONTHLY)
    await post(stage, *make_events(10), watch=watch())
    assert reads == []
    await ReceiverStore(stage.database).insert(receiver("rcv_1", URL))
    same_watch = watch()
    for _ in range(3):
        await post(stage, make_event("bob"), watch=same_watch)
    assert reads == ["keys"]


async def test_a_posting_that_is_rolled_back_tells_nothing(stage: Stage, store: AlertStore) -> None:
    class Failing(PostingWatch):
        failures = 1

        async def __call__(self, entries: Any, accounts: Any, session: Session) -> None:
            await super().__call__(entries, accounts, session)
            if self.failures:
                self.failures -= 1
                raise ConnectionError

    await limit(stage, MONTHLY)
    outbox = Outbox(store, ReceiverStore(stage.database))
    watch = Failing(outbox, LedgerReader(stage.database), KeyStore(stage.database))
    events = make_events(3)
    with pytest.raises(ConnectionError):
        await post(stage, *events, watch=watch)
    assert await deliveries(store) == []
    assert await stage.entry_ids() == []
    await post(stage, *events, watch=watch)
    assert await percents(store) == [25]
    # Delivered again, they are not new entries.
    await post(stage, *events, watch=watch)
    assert await percents(store) == [25]


async def test_an_unpriced_entry_is_reported_once_per_day_and_model(
    stage: Stage, store: AlertStore
) -> None:
    first = make_event(model="no-price")
    await post(stage, first, make_event(model="no-price"), make_event(model="neither"))
    await post(stage, make_event(model="no-price"))
    alerts = await deliveries(store)
    assert {delivery.kind for delivery in alerts} == {"entry.unpriced"}
    assert sorted(data_of(delivery)["model"] for delivery in alerts) == ["neither", "no-price"]
    [row] = [data_of(d) for d in alerts if data_of(d)["model"] == "no-price"]
    assert (row["entry_id"], row["provider"], row["user_id"]) == (first.call_id, "openai", "alice")


async def test_an_alert_of_a_past_period_names_that_period(stage: Stage, store: AlertStore) -> None:
    await limit(stage, Budget(limit_nusd=CALL_NUSD, period="daily", alert_percents=(100,)))
    yesterday = NOW.replace(day=23)
    await post(stage, make_event(started_at=yesterday), make_event())
    days = [data_of(d)["current"] for d in await deliveries(store) if "percent" in data_of(d)]
    assert sorted(days) == ["2026-11-23", "2026-11-24"]


async def test_several_workers_at_once_tell_once(stage: Stage, store: AlertStore) -> None:
    await limit(stage, MONTHLY)
    events = make_events(12)
    # Some events are delivered to two workers.
    shares = (events[:8], events[4:], [*events[:2], *events[10:]])
    await asyncio.gather(*(post(stage, *share, watch=watch_of(stage)) for share in shares))
    await stage.assert_exact("alice", 12)
    assert await percents(store) == [25, 50, 100]
    assert [d.kind for d in await deliveries(store)].count("budget.exhausted") == 1
