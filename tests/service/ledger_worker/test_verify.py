"""The proof finds whatever was written past the ledger, from its last checkpoint on or in full."""

import math
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from libs.common.copy_comparison import CopyComparison
from libs.common.domain.checkpoints import Checkpoint, Seal
from libs.common.outbox import outbox_of
from libs.common.prover import Prover
from libs.common.schemas.entry import LedgerEntry
from libs.common.storage.mongo.driver import Document, Session
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.proof_pages import ProofPages
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.mongo.rollup_segments import RollupSegments
from libs.common.storage.redis.spend import RedisSpendReader
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.settings import Settings
from services.ledger_worker.verifier import Verifier
from tests.service.ledger_worker.tampering import Tampering
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    PERIODS,
    Stage,
    make_events,
    new_call_id,
    working,
)


def prover_of(stage: Stage, *, settling: bool = False, stretch: int = 3) -> Prover:
    async def is_settling() -> bool:
        return settling

    return Prover(
        proofs=ProofStore(stage.database),
        pages=ProofPages(stage.database),
        copies=CopyComparison(stage.ledger, RedisSpendReader(stage.redis), is_settling, pause_s=0),
        now=lambda: NOW,
        stretch=stretch,
    )


def verifier_of(stage: Stage, metrics: Metrics) -> Verifier:
    return Verifier(
        prover=prover_of(stage),
        proofs=ProofStore(stage.database),
        redis=stage.redis,
        outbox=outbox_of(stage.database),
        metrics=metrics,
        every_s=1000,
        full_every=timedelta(days=7),
        now=lambda: NOW,
    )


async def post(stage: Stage, settings: Settings, number: int, user_id: str = "alice") -> None:
    async with working(stage, settings):
        await stage.enqueue(make_events(number, user_id))
        await stage.drained()


async def test_entries_are_verified_in_batches_up_to_the_last_one(
    stage: Stage, settings: Settings
) -> None:
    await post(stage, settings, 10)
    for stretch in (1, 3, 9, 10, 100):
        proof = await prover_of(stage, stretch=stretch).prove("alice", full=True)
        assert proof.difference is None
        assert proof.checkpoint == Checkpoint(
            user_id="alice",
            seq=10,
            nusd=10 * CALL_NUSD,
            periods=dict.fromkeys(PERIODS, 10 * CALL_NUSD),
        )


async def test_entries_before_the_checkpoint_are_read_only_by_full(
    stage: Stage, settings: Settings
) -> None:
    await post(stage, settings, 5)
    proofs, prover = ProofStore(stage.database), prover_of(stage)
    await proofs.save([Seal(checkpoint=(await prover.prove("alice", full=False)).checkpoint)])
    await stage.database["entries"].delete_one({"user_id": "alice", "seq": 2})
    await post(stage, settings, 2)
    partial = await prover.prove("alice", full=False)
    assert (partial.difference, partial.checkpoint.seq) == (None, 7)
    full = (await prover.prove("alice", full=True)).difference
    assert full is not None
    assert full.where == "entries"


TAMPERED = [
    Tampering("accounts", {"_id": "alice"}, {"$inc": {"spent_nusd": 1}}, "account"),
    Tampering("accounts", {"_id": "alice"}, {"$inc": {"spent_nusd": -0.75}}, "account"),
    Tampering("accounts", {"_id": "alice"}, {"$inc": {"entries": -1}}, "entries"),
    Tampering("accounts", {"_id": "alice"}, {"$inc": {"spend.total": 1}}, "period:total"),
    Tampering("accounts", {"_id": "alice"}, {"$set": {"spend.2026-11": 0}}, "period:2026-11"),
    Tampering("accounts", {"_id": "alice"}, {"$inc": {"spend.2026-W48": 0.5}}, "period:2026-W48"),
    Tampering("rollups", {"user_id": "alice"}, {"$inc": {"cost_nusd": -1}}, "rollups:2026-11-24"),
    Tampering("entries", {"user_id": "alice", "seq": 8}, {"$set": {"seq": 9}}, "entries"),
    Tampering("entries", {"user_id": "alice", "seq": 8}, {"$inc": {"cost_nusd": 1}}, "account"),
    Tampering("entries", {"user_id": "alice", "seq": 8}, {"$set": {"periods": []}}, "period:"),
]


@pytest.mark.parametrize("tampering", TAMPERED)
async def test_changes_after_the_checkpoint_are_found(
    stage: Stage, settings: Settings, tampering: Tampering
) -> None:
    await post(stage, settings, 5)
    prover = prover_of(stage)
    proof = await prover.prove("alice", full=False)
    await ProofStore(stage.database).save([Seal(checkpoint=proof.checkpoint)])
    await post(stage, settings, 4)
    assert (await prover.prove("alice", full=False)).difference is None
    await RollupSegments(stage.database).roll_up(after_ms=0)
    assert (await prover.prove("alice", full=False)).difference is None
    await tampering.do(stage.database)
    for full in (False, True):
        difference = (await prover.prove("alice", full=full)).difference
        assert difference is not None
        assert difference.where.startswith(tampering.where)


async def test_an_inserted_entry_is_found_by_full(stage: Stage, settings: Settings) -> None:
    await post(stage, settings, 2)
    document = await stage.database["entries"].find_one({"seq": 2})
    assert document is not None
    del document["seq"]
    await stage.database["entries"].insert_one({**document, "_id": new_call_id()})
    difference = (await prover_of(stage).prove("alice", full=True)).difference
    assert difference is not None
    assert (difference.where, difference.expected, difference.found) == ("entries", 2, 3)


class Forgetful(LedgerStore):
    """A store with the bug that the proof is there for: one `$inc` is skipped."""

    async def _count(self, entries: Sequence[LedgerEntry], session: Session) -> dict[str, Document]:
        accounts = await super()._count(entries, session)
        await self._accounts.update_one(
            {"_id": entries[0].user_id}, {"$inc": {"spent_nusd": -CALL_NUSD}}, session=session
        )
        return accounts


async def test_a_skipped_increment_is_found(stage: Stage, settings: Settings) -> None:
    await post(stage, settings, 3)
    [entry, *_] = await stage.entries.get_many(await stage.entry_ids())
    lost = msgspec.structs.replace(entry, entry_id=new_call_id())
    await Forgetful(stage.database).post([lost])
    difference = (await prover_of(stage).prove("alice", full=False)).difference
    assert difference is not None
    assert (difference.where, difference.expected, difference.found) == (
        "account",
        4 * CALL_NUSD,
        3 * CALL_NUSD,
    )


async def copy_of(stage: Stage, value: str, period: str = "total") -> None:
    await stage.redis.set(f"gateway:{{alice}}:spent:{period}", value)


@pytest.mark.parametrize(
    ("nusd", "newer", "settling", "drifts"),
    [
        (CALL_NUSD, 0, False, False),
        # Of the same revision, or a later one, there is one true amount.
        (CALL_NUSD - 1, 0, True, True),
        (CALL_NUSD - 1, 1, True, True),
        # An older one is on its way to the present one while postings are settled.
        (0, -1, True, False),
        (0, -1, False, True),
    ],
)
async def test_the_spend_in_redis_is_compared(
    stage: Stage, settings: Settings, nusd: int, newer: int, settling: bool, drifts: bool
) -> None:
    await post(stage, settings, 1)
    spent = await stage.ledger.spend_with_revisions(["alice"], ["total"])
    await copy_of(stage, f"{nusd}:{spent['alice', 'total'].revision + newer}")
    proof = await prover_of(stage, settling=settling).prove("alice", full=False)
    assert (proof.difference is not None) == drifts
    if proof.difference is not None:
        assert proof.difference.where == "redis:total"
        assert proof.difference.expected == CALL_NUSD


async def test_an_empty_redis_is_not_drift(stage: Stage, settings: Settings) -> None:
    await post(stage, settings, 1)
    await stage.redis.flushdb()
    assert (await prover_of(stage).prove("alice", full=True)).difference is None


async def test_all_accounts_are_verified_and_the_first_difference_is_named(
    stage: Stage, settings: Settings
) -> None:
    for user_id in ("alice", "bob"):
        await post(stage, settings, 2, user_id)
    await stage.add_account("carol")
    await stage.add_account("dave")
    verdict = await prover_of(stage).prove_all(full=False)
    assert (verdict.accounts, verdict.entries, verdict.drifting) == (4, 4, 0)
    assert verdict.entries_nusd == 4 * CALL_NUSD
    for user_id in ("bob", "carol"):
        await stage.database["accounts"].update_one({"_id": user_id}, {"$inc": {"spent_nusd": 1}})
    verdict = await prover_of(stage).prove_all(full=False)
    assert verdict.drifting == 2
    assert verdict.first_difference is not None
    assert verdict.first_difference.user_id == "bob"


@pytest.mark.parametrize("gone", [["accounts"], ["accounts", "spend", "rollups"]])
async def test_orphaned_entries_are_found(
    stage: Stage, settings: Settings, gone: Sequence[str]
) -> None:
    for user_id in ("alice", "bob"):
        await post(stage, settings, 2, user_id)
    for name in gone:
        await stage.database[name].delete_many({"$or": [{"_id": "alice"}, {"user_id": "alice"}]})
    verdict = await prover_of(stage).prove_all(full=True)
    assert verdict.accounts == 2
    assert verdict.first_difference is not None
    assert (verdict.first_difference.user_id, verdict.first_difference.found) == ("alice", None)


async def test_a_run_ends_in_time_and_the_next_one_continues(
    stage: Stage, settings: Settings
) -> None:
    await post(stage, settings, 1)
    prover = prover_of(stage)
    first = await prover.prove_all(full=False, within_s=0)
    assert (first.accounts, first.next_after) == (1, "alice")
    second = await prover.prove_all(full=False, within_s=0, after=first.next_after)
    assert (second.accounts, second.next_after) == (1, None)


async def test_the_worker_exports_what_it_verified(stage: Stage, settings: Settings) -> None:
    await post(stage, settings, 3)
    metrics = Metrics()
    assert math.isnan(metrics.verify_ok._value.get())
    verifier = verifier_of(stage, metrics)
    await verifier.take_turn()
    assert metrics.verify_ok._value.get() == 1
    assert metrics.verify_last_success._value.get() == NOW.timestamp()
    assert (await ProofStore(stage.database).checkpoint("alice")).seq == 3

    await stage.database["accounts"].update_one({"_id": "alice"}, {"$inc": {"spent_nusd": 1}})
    await stage.redis.delete("gateway:worker:verify")
    await verifier.take_turn()
    assert metrics.verify_ok._value.get() == 0

    # A worker that has just started shows what the others found.
    await stage.redis.set("gateway:worker:verify", b"taken")
    other = Metrics()
    await verifier_of(stage, other).take_turn()
    assert other.verify_ok._value.get() == 0

    await stage.database["accounts"].update_one({"_id": "alice"}, {"$inc": {"spent_nusd": -1}})
    await stage.redis.delete("gateway:worker:verify")
    await verifier.take_turn()
    assert metrics.verify_ok._value.get() == 1
