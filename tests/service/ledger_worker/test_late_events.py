"""A call that was given up, and whose own event arrives after all, costs what it cost. Once."""

import msgspec

from libs.common.domain.corrections import derived_id
from libs.common.schemas.usage import UsageEvent
from libs.common.storage.mongo.entry_filter import EntryFilter
from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    PERIODS,
    Stage,
    make_event,
    working,
)


def given_up(event: UsageEvent) -> UsageEvent:
    """What the sweep makes of the call's hold."""
    return msgspec.structs.replace(
        event, status="abandoned", usage=None, usage_source="none", held_nusd=9_000_000
    )


async def test_the_late_event_of_an_abandoned_call_corrects_it(
    stage: Stage, settings: Settings
) -> None:
    event = make_event()
    async with working(stage, settings):
        await stage.enqueue([given_up(event)])
        await stage.drained()
        assert await stage.spent_in_redis("alice") == 0
        for _ in range(2):
            await stage.enqueue([event])
            await stage.drained()
        await stage.enqueue([given_up(event)])
        await stage.drained()
    late, abandoned = sorted(
        (await stage.ledger.list(EntryFilter(user_id="alice"), now=NOW, limit=10)).entries,
        key=lambda entry: entry.kind != "late_event",
    )
    assert (abandoned.kind, abandoned.status, abandoned.cost_nusd) == ("call", "abandoned", 0)
    assert (late.kind, late.status, late.corrects) == ("late_event", "ok", event.call_id)
    assert late.entry_id == derived_id(event.call_id, "late_event")
    assert (late.usage, late.cost_nusd) == (event.usage, CALL_NUSD)
    assert late.periods == abandoned.periods == PERIODS
    assert (abandoned.seq, late.seq) == (1, 2)
    await stage.assert_exact("alice", 2, nusd=CALL_NUSD)
    assert await stage.spent_in_redis("alice") == CALL_NUSD
    await RollupSegments(stage.database).roll_up(after_ms=0)
    rollup = await stage.database["rollups"].find_one({"user_id": "alice"})
    assert rollup is not None
    assert (rollup["calls"], rollup["corrections"]) == (1, 1)
    assert rollup["status"] == {"ok": 1}
    assert rollup["tokens"]["input_text"] == 1000


async def test_within_a_batch_the_outcome_of_a_call_wins(stage: Stage, settings: Settings) -> None:
    event = make_event()
    await stage.enqueue([given_up(event), event, given_up(event)])
    async with working(stage, settings):
        await stage.drained()
    await stage.assert_exact("alice", 1)


async def test_a_posted_call_is_not_abandoned_afterwards(stage: Stage, settings: Settings) -> None:
    event = make_event()
    async with working(stage, settings):
        await stage.enqueue([event])
        await stage.drained()
        await stage.enqueue([given_up(event)])
        await stage.drained()
    await stage.assert_exact("alice", 1)


async def test_two_workers_correct_a_call_once(stage: Stage, settings: Settings) -> None:
    events = [make_event() for _ in range(10)]
    async with working(stage, settings), working(stage, settings):
        await stage.enqueue([given_up(event) for event in events])
        await stage.drained()
        for event in events:
            await stage.enqueue([event])
            await stage.enqueue([event])
        await stage.drained()
    await stage.assert_exact("alice", 20, nusd=10 * CALL_NUSD)
