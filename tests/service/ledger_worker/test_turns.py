"""Work that all workers would do alike is done by one of them at a time."""

from functools import partial

from libs.common.storage.mongo.rollup_segments import RollupSegments
from services.ledger_worker.periodic_chores import take_turn
from tests.service.ledger_worker.worker_stage import Stage
from tests.support.sent_commands import collection_of, sent_commands


async def test_one_worker_counts_the_entries_of_all_accounts(stage: Stage) -> None:
    check = RollupSegments(stage.database).check
    turn = partial(take_turn, stage.redis, "segments", check, every_s=600)
    with sent_commands() as commands:
        for _ in range(3):
            await turn()
    assert [collection_of(command) for command in commands].count("accounts") == 1
    left_ms = await stage.redis.pttl("gateway:worker:segments")
    assert 0 < left_ms <= 540_000
    await stage.redis.delete("gateway:worker:segments")
    with sent_commands() as commands:
        await turn()
    assert "accounts" in map(collection_of, commands)
