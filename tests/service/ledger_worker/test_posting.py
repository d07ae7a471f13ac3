"""Each call's entry is posted once, however often and by however many its event is delivered."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from libs.common.domain.money import round_to_nusd
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import TokenUsage
from libs.common.settings import SettingsError
from libs.common.storage.mongo.account_spend import NOT_READ
from libs.common.storage.mongo.driver import Document, Session, open_session
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.mongo.entry_filter import EntryFilter
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore, Posting
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.prices.price_book import PriceBook
from libs.common.storage.prices.price_map import PriceMap
from libs.common.storage.redis.client import RedisError
from services.ledger_worker.poster import Poster
from services.ledger_worker.settings import Settings
from services.ledger_worker.settler import Settler
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    PERIODS,
    Stage,
    count_of,
    make_event,
    make_events,
    settings_for,
    working,
)
from tests.support.polling import PATIENCE_S
from tests.support.sent_commands import collection_of, sent_commands


async def test_a_batch_is_posted_once_and_its_holds_are_released(
    stage: Stage, settings: Settings
) -> None:
    events = [*make_events(5, "alice"), *make_events(3, "bob")]
    for event in events:
        await stage.hold(event)
    await stage.enqueue(events)
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 5)
    await stage.assert_exact("bob", 3)
    assert await stage.holds.held("alice") == await stage.holds.held("bob") == 0
    for period in PERIODS:
        assert await stage.spent_in_redis("alice", period) == 5 * CALL_NUSD
        assert await stage.spent_in_redis("bob", period) == 3 * CALL_NUSD
    assert await stage.redis.keys("arq:*") == []
    # What is left expires.
    names = await stage.redis.keys("*")
    assert [name for name in names if await stage.redis.ttl(name) == -1] == []


async def test_the_same_batch_twice_is_posted_once(stage: Stage, settings: Settings) -> None:
    events = make_events(4)
    async with working(stage, settings):
        await stage.enqueue(events, "batch-1")
        await stage.drained()
        await stage.enqueue(events, "batch-1")
        await stage.drained()
        await stage.enqueue(events, "batch-2")
        await stage.drained()
    await stage.assert_exact("alice", 4)


async def test_an_event_in_two_batches_and_twice_in_one_is_posted_once(
    stage: Stage, settings: Settings
) -> None:
    shared, first, second = make_events(3)
    await stage.enqueue([first, shared, shared])
    await stage.enqueue([shared, second])
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 3)


async def test_two_workers_on_the_same_events_post_each_once(
    stage: Stage, settings: Settings
) -> None:
    """Each batch is on the queue under two names, so that both workers meet on the same events."""
    batches = [make_events(5) for _ in range(20)]
    for number, batch in enumerate(batches):
        await stage.enqueue(batch, f"first-{number}")
        await stage.enqueue(batch, f"second-{number}")
    async with working(stage, settings), working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 100)
    assert await stage.spent_in_redis("alice") == 100 * CALL_NUSD
    assert count_of(stage.metrics.posted) == 100
    assert count_of(stage.metrics.skipped) == 100
    # However often they come, and in whatever batches.
    assert stage.calls_counted() == 100


async def test_a_committed_unsettled_event_is_settled_on_redelivery(
    stage: Stage, settings: Settings
) -> None:
    """A crash between the commit and the settling: the entry is there, the hold too."""
    event = make_event()
    async with working(stage, settings):
        await stage.enqueue([event])
        await stage.drained()
    await stage.redis.flushdb()
    await stage.hold(event)
    await stage.enqueue([event])
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 1)
    assert await stage.holds.held("alice") == 0
    assert await stage.spent_in_redis("alice") == CALL_NUSD


async def test_settling_that_fails_is_repeated(stage: Stage, settings: Settings) -> None:
    event = make_event()
    await stage.hold(event)
    await refuse_to_settle(stage, "alice")
    await stage.enqueue([event])
    async with working(stage, settings):
        await stage.retried()
        assert not await stage.queue_is_empty()
        assert await stage.entry_ids() == [event.call_id]
        await stage.redis.delete("gateway:{alice}:spent:total")
        await stage.drained()
    await stage.assert_exact("alice", 1)
    assert await stage.holds.held("alice") == 0
    assert await stage.spent_in_redis("alice") == CALL_NUSD


async def test_an_account_that_cannot_be_settled_does_not_block_others(stage: Stage) -> None:
    event, other = make_event("alice"), make_event("bob")
    await refuse_to_settle(stage, "alice")
    async with open_session(stage.database) as session:
        failures, _ = await poster_of(stage, session).write([[event], [other]])
    assert failures.keys() == {event.call_id}
    assert isinstance(failures[event.call_id], RedisError)
    assert await stage.spent_in_redis("bob") == CALL_NUSD


async def test_a_posting_is_settled_with_what_it_knows(stage: Stage) -> None:
    async with open_session(stage.database) as session:
        poster = poster_of(stage, session)
        with sent_commands() as commands:
            await poster.write([[make_event("alice"), make_event("bob")]])
    names = [next(iter(command)) for command in commands]
    after = commands[names.index("commitTransaction") + 1 :]
    assert [collection_of(command) for command in after] == ["keys"]
    for user_id in ("alice", "bob"):
        assert await stage.spent_in_redis(user_id) == CALL_NUSD


async def test_a_transaction_is_settled_while_the_next_one_is_under_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each settling waits for the posting after it, which would never come if it waited too."""
    monkeypatch.setattr("services.ledger_worker.poster.MAX_EVENTS_PER_TRANSACTION", 2)
    events = make_events(6)
    posted = asyncio.Condition()
    settled: list[str] = []
    committed = 0

    class Ledger(LedgerStore):
        async def add(
            self, entries: Sequence[LedgerEntry], session: Session | None = None
        ) -> Posting:
            nonlocal committed
            posting = await super().add(entries, session)
            async with posted:
                committed += len(posting.entries)
                posted.notify_all()
            return posting

    class Waits(Settler):
        async def settle(
            self, entries: Sequence[LedgerEntry], accounts: Mapping[str, Document] = NOT_READ
        ) -> Mapping[str, RedisError]:
            settled.extend(entry.entry_id for entry in entries)
            async with posted:
                await posted.wait_for(lambda: committed >= min(len(settled) + 2, len(events)))
            return {entries[0].entry_id: RedisError("not now")}

    settler = Waits(ledger=stage.ledger, holds=stage.holds, keys=KeyStore(stage.database))
    async with open_session(stage.database) as session:
        poster = poster_of(stage, session, ledger=Ledger(stage.database), settler=settler)
        async with asyncio.timeout(PATIENCE_S):
            (failures,) = await poster.write([events])
    assert sorted(settled) == sorted(event.call_id for event in events)
    # One of each transaction.
    assert len(failures) == 3


def poster_of(stage: Stage, session: Session, **others: Any) -> Poster:
    defaults: dict[str, Any] = {"ledger": stage.ledger, "settler": stage.settler}
    return Poster(
        **(defaults | others),
        session=session,
        prices=PriceBook(stage.prices, PriceMap(b"{}")),
        metrics=stage.metrics,
        now=lambda: datetime.now(UTC),
        any_of=lambda _: 0,
    )


async def refuse_to_settle(stage: Stage, user_id: str) -> None:
    """A wrong type under one of the account's keys stands for a Redis that refuses."""
    await stage.redis.delete(f"gateway:{{{user_id}}}:spent:total")
    await stage.redis.zadd(f"gateway:{{{user_id}}}:spent:total", {"not a number": 1})


async def test_a_price_just_set_counts_and_beats_the_bundled_map(
    stage: Stage, settings: Settings
) -> None:
    bundled = PriceMap(
        b'{"mapped-1": {"litellm_provider": "openai", "mode": "chat",'
        b'"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}'
    )
    before = make_event(model="mapped-1")
    after = make_event(model="mapped-1")
    async with working(stage, settings, bundled):
        await stage.enqueue([before])
        await stage.drained()
        price_id = await stage.set_price("mapped-1", "7", "0")
        await stage.enqueue([after])
        await stage.drained()
    entries = {
        entry.entry_id: entry
        for entry in (
            await stage.ledger.list(EntryFilter(user_id="alice"), now=NOW, limit=10)
        ).entries
    }
    assert entries[before.call_id].cost_nusd == 1_200_000
    assert str(entries[before.call_id].price_id).startswith("litellm:mapped-1@")
    assert entries[after.call_id].cost_nusd == 7_000_000
    assert entries[after.call_id].price_id == price_id


async def test_calls_without_a_price_or_usage_are_posted_at_no_cost(
    stage: Stage, settings: Settings
) -> None:
    unpriced = make_event(model="nobody-knows")
    refused = make_event(status="refused", http_status=402, usage=None, provider=None, model=None)
    failed = make_event(status="upstream_error", http_status=502, usage=None)
    partial = make_event(status="client_closed", usage=TokenUsage(input_text=1000))
    await stage.enqueue([unpriced, refused, failed, partial])
    async with working(stage, settings):
        await stage.drained()
    page = await stage.ledger.list(EntryFilter(user_id="alice"), now=NOW, limit=10)
    assert {entry.entry_id: (entry.status, entry.cost_nusd) for entry in page.entries} == {
        unpriced.call_id: ("unpriced", 0),
        refused.call_id: ("refused", 0),
        failed.call_id: ("upstream_error", 0),
        partial.call_id: ("client_closed", 3_000_000),
    }
    assert count_of(stage.metrics.unpriced) == 1
    await stage.assert_exact("alice", 4, nusd=3_000_000)


async def test_a_cost_uses_the_multipliers_of_the_event_and_the_version(
    stage: Stage, settings: Settings
) -> None:
    """Whatever the account's multiplier is by now."""
    event = make_event(account_multiplier=Decimal("1.5"))
    await stage.enqueue([event])
    async with working(stage, settings):
        await stage.drained()
    nusd = CALL_NUSD * 3 // 2
    await stage.assert_exact("alice", 1, nusd=nusd)
    entry = await EntryStore(stage.database).get(event.call_id)
    assert entry is not None
    assert (entry.multiplier, entry.account_multiplier) == (Decimal("1.5"), Decimal("1.5"))
    line_sum = sum((line.amount for line in entry.lines), Decimal(0))
    assert round_to_nusd(line_sum * entry.multiplier) == entry.cost_nusd == nusd


async def test_tags_that_the_setting_names_are_rolled_up(
    stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    tags = ("team:search", "env:prod")
    await stage.enqueue([make_event(tags=tags), make_event(tags=("team:ads",)), make_event()])
    async with working(stage, settings_for(mongo_uri, redis_url, rollup_tags="team,region")):
        await stage.drained()
    await stage.assert_exact("alice", 3)
    page = await stage.ledger.list(EntryFilter(user_id="alice", tag="env:prod"), limit=9, now=NOW)
    assert [entry.tags for entry in page.entries] == [tags]
    await RollupSegments(stage.database).roll_up(after_ms=0)
    rows = await stage.database["rollups"].find({"user_id": "alice"}).to_list(9)
    assert sorted((row.get("tags", {}).get("team", ""), row["cost_nusd"]) for row in rows) == [
        ("", CALL_NUSD),
        ("team:ads", CALL_NUSD),
        ("team:search", CALL_NUSD),
    ]
    assert all("env" not in row.get("tags", {}) for row in rows)


@pytest.mark.parametrize("names", ["a,b,c,d,e", "team:x", "$where"])
def test_a_wrong_list_of_tags_stops_the_start(names: str) -> None:
    with pytest.raises(SettingsError, match="ROLLUP_TAGS is wrong"):
        settings_for("mongodb://h/d", "redis://h", rollup_tags=names)


@pytest.mark.parametrize("logs", [True, False])
async def test_posted_calls_are_logged_where_that_is_asked_for(
    stage: Stage, mongo_uri: str, redis_url: str, logs: bool
) -> None:
    with capture_logs() as lines:
        async with working(stage, settings_for(mongo_uri, redis_url, log_calls=logs)):
            await stage.enqueue(make_events(3))
            await stage.drained()
    posted = [line for line in lines if line["event"] == "call.posted"]
    assert len(posted) == (3 if logs else 0)
