"""Refunds that were ordered at the same time, each of which had room when it was checked."""

import msgspec

from libs.common.schemas.correction import CorrectionOrder
from libs.common.storage.queue.correction_queue import CorrectionQueue
from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    make_event,
    new_call_id,
    working,
)


async def test_concurrent_refunds_never_exceed_the_call(stage: Stage, settings: Settings) -> None:
    call = make_event()
    other = msgspec.structs.replace(settings, worker_name="other")
    async with working(stage, settings), working(stage, other):
        await stage.enqueue([call])
        await stage.drained()
        for _ in range(4):
            await CorrectionQueue(stage.redis).correct(
                CorrectionOrder(
                    entry_id=new_call_id(),
                    user_id="alice",
                    kind="refund",
                    cost_nusd=-CALL_NUSD // 2,
                    corrects=call.call_id,
                    reason="It was of no use.",
                    made_by="admin",
                    at=NOW,
                )
            )
        await stage.drained()
    await stage.assert_exact("alice", 3, nusd=0)
    letters = await stage.dead_letters.list(after=None, limit=10)
    assert [letter.kind for letter in letters] == ["correction"] * 2
    assert all("more than what call" in letter.reason for letter in letters)
