"""Spend of keys that have budgets of their own, as settling copies it to Redis."""

from datetime import UTC, datetime

from libs.common.schemas.account import Budget, BudgetPeriod
from libs.common.storage.mongo.keys import KeyStore
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import CALL_NUSD, Stage, make_event, working
from tests.unit.builders import api_key

KATHMANDU = "Asia/Kathmandu"
# Of 2026-10-31 and of 2026-11-01 there.
EARLY = datetime(2026, 10, 31, 18, 0, tzinfo=UTC)
LATE = datetime(2026, 10, 31, 18, 30, tzinfo=UTC)
KEYS: dict[str, tuple[BudgetPeriod, ...]] = {
    "key-1": ("total", "monthly", "weekly", "daily"),
    "key-2": ("daily",),
    "key-3": (),
}


async def test_the_keys_of_a_batch_are_settled_by_their_own_periods(
    stage: Stage, settings: Settings
) -> None:
    for key_id, periods in KEYS.items():
        budgets = tuple(Budget(limit_nusd=10**12, period=period) for period in periods)
        key = api_key(key_id, user_id="alice", budgets=budgets, secret_hash=key_id)
        await KeyStore(stage.database).insert(key)
    calls = [
        *(make_event(started_at=at, time_zone=KATHMANDU) for at in (EARLY, LATE, LATE)),
        make_event(key_id="key-2", started_at=LATE, time_zone=KATHMANDU),
        make_event(key_id="key-3", started_at=LATE, time_zone=KATHMANDU),
        make_event(user_id="bob", key_id="key-9"),
    ]
    async with working(stage, settings):
        await stage.enqueue(calls)
        await stage.drained()
        # What an earlier transaction posted counts, too.
        await stage.enqueue([make_event(started_at=LATE, time_zone=KATHMANDU)])
        await stage.drained()
    assert await spent_by_keys(stage) == {
        "key-1:total": 4 * CALL_NUSD,
        "key-1:2026-10": CALL_NUSD,
        "key-1:2026-11": 3 * CALL_NUSD,
        "key-1:2026-W44": 4 * CALL_NUSD,
        "key-1:2026-10-31": CALL_NUSD,
        "key-1:2026-11-01": 3 * CALL_NUSD,
        "key-2:2026-11-01": CALL_NUSD,
    }


async def spent_by_keys(stage: Stage) -> dict[str, int]:
    """Nano-USD by `key:period` of all keys that Redis knows of."""
    names = [name async for name in stage.redis.scan_iter("gateway:{*}:spent:key:*")]
    values = [int((await stage.redis.get(name)).split(b":")[0]) for name in names]
    labels = [name.decode().partition(":spent:key:")[2] for name in names]
    return dict(zip(labels, values, strict=True))
