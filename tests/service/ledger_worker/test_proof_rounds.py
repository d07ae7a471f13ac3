"""A round reads what has changed, and finds in bounded time what was changed by hand."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from libs.common.copy_comparison import CopyComparison
from libs.common.domain.checkpoints import NO_AMOUNT, Checkpoint, Difference, Seal
from libs.common.findings import RoundPart
from libs.common.outbox import outbox_of
from libs.common.prover import Prover
from libs.common.storage.mongo.proof_pages import ProofPages, fingerprint
from libs.common.storage.mongo.proofs import Progress, ProofStore, UnderWay
from libs.common.storage.redis.spend import RedisSpendReader
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.verifier import Verifier
from tests.service.ledger_worker.tampering import Tampering
from tests.service.ledger_worker.worker_stage import NOW, PERIODS, Stage, new_call_id
from tests.support.sent_commands import collection_of, sent_commands
from tests.unit.builders import entry

WEEK = timedelta(days=7)
COST = 1_000
USERS = ("alice", "bob")


class Rounds:
    """The prover of a stage with a clock of its own."""

    def __init__(self, stage: Stage, *, page: int = 500, stretch: int = 3) -> None:
        self.stage, self.now = stage, NOW
        self.proofs = ProofStore(stage.database)
        self.prover = Prover(
            proofs=self.proofs,
            pages=ProofPages(stage.database, page=page),
            copies=CopyComparison(
                stage.ledger, RedisSpendReader(stage.redis), self._settling, pause_s=0
            ),
            now=lambda: self.now,
            stretch=stretch,
        )

    async def _settling(self) -> bool:
        return not await self.stage.queue_is_empty()

    async def part(
        self, after: str | None = None, under_way: UnderWay | None = None, *, within_s: float = 60
    ) -> RoundPart:
        return await self.prover.prove_due(
            after, under_way, full_every=WEEK, give_up_at=monotonic() + within_s
        )

    async def run(self) -> RoundPart:
        """A round that ends on its first page, whose seals are kept."""
        part = await self.part()
        assert part.is_last
        await self.proofs.save(part.seals)
        return part

    def verifier(self, **changes: Any) -> Verifier:
        parts: dict[str, Any] = {
            "prover": self.prover,
            "proofs": self.proofs,
            "redis": self.stage.redis,
            "outbox": outbox_of(self.stage.database),
            "metrics": Metrics(),
            "every_s": 1000,
            "full_every": WEEK,
            "now": lambda: self.now,
        }
        return Verifier(**(parts | changes))


@pytest.fixture
async def rounds(stage: Stage) -> Rounds:
    """Alice and bob have five entries each, of which the first round has proved all."""
    for user_id in USERS:
        await post(stage, 5, user_id)
    rounds = Rounds(stage)
    first = await rounds.run()
    assert (first.findings.accounts, first.findings.unchanged) == (2, 0)
    return rounds


async def post(stage: Stage, number: int, user_id: str = "alice") -> None:
    calls = [
        entry(new_call_id(), user_id=user_id, key_id=f"key of {user_id}", cost_nusd=COST)
        for _ in range(number)
    ]
    assert await stage.ledger.post(calls) == number


async def redis_commands(stage: Stage) -> int:
    stats = await stage.redis.info("commandstats")
    return sum(row["calls"] for name, row in stats.items() if name != "cmdstat_info")


async def test_an_account_that_has_not_changed_is_not_read(rounds: Rounds) -> None:
    stage = rounds.stage
    # More of them than MongoDB answers with at first.
    others = [f"user-{n}" for n in range(300)]
    await stage.database["accounts"].insert_many([{"_id": user_id} for user_id in others])
    await rounds.proofs.save(
        Seal(checkpoint=Checkpoint(user_id=id_), document=fingerprint({}), full_at=NOW)
        for id_ in others
    )
    before = await redis_commands(stage)
    with sent_commands() as commands:
        part = await rounds.run()
    # The page, and what may have entries after the last account.
    assert [collection_of(command) for command in commands] == [
        "accounts",
        "checkpoints",
        "entries",
    ]
    # In one round trip, each for 500 figures.
    assert await redis_commands(stage) - before <= 6
    assert (part.findings.accounts, part.findings.unchanged, part.seals) == (302, 302, [])
    assert (part.findings.entries, part.findings.entries_nusd) == (10, 10 * COST)


async def test_only_the_account_that_has_changed_is_proved(rounds: Rounds) -> None:
    await post(rounds.stage, 2, "bob")
    with sent_commands() as commands:
        part = await rounds.run()
    # With the page, and in the transaction.
    assert [collection_of(command) for command in commands].count("accounts") == 2
    assert part.findings.unchanged == 1
    [seal] = part.seals
    assert (seal.checkpoint.user_id, seal.checkpoint.seq) == ("bob", 7)
    # It was read from its checkpoint on.
    assert seal.full_at == NOW
    assert (await rounds.run()).findings.unchanged == 2


async def test_accounts_that_have_changed_are_proved_together(stage: Stage) -> None:
    users = [f"user-{n:02}" for n in range(23)]
    for user_id in users:
        await stage.add_account(user_id)
        await post(stage, 1, user_id)
    rounds = Rounds(stage, stretch=100)
    await rounds.run()
    for user_id in users:
        await post(stage, 1, user_id)
    for user_id in ("user-07", "user-21"):
        await stage.database["accounts"].update_one({"_id": user_id}, {"$inc": {"spent_nusd": 1}})
    with sent_commands() as commands:
        part = await rounds.run()
    counts = Counter(next(iter(command)) for command in commands)
    # Of twenty accounts, and of three.
    assert counts["commitTransaction"] == 2
    # The entries of each, and the rollups of all.
    assert counts["aggregate"] == 23 + 2
    # What may have entries beside each and after the last; the page, its new segments, and of each
    # batch checkpoints, accounts, spend and which segments there are.
    assert counts["find"] == 23 + 1 + 3 + 2 * 4
    assert len(part.seals) == 21
    assert {seal.checkpoint.seq for seal in part.seals} == {2}
    assert part.findings.drifting == 2
    assert part.findings.first_difference is not None
    assert part.findings.first_difference.user_id == "user-07"


async def test_no_snapshot_reads_more_entries_than_a_stretch(rounds: Rounds) -> None:
    for user_id in USERS:
        await post(rounds.stage, 2, user_id)
    with sent_commands() as commands:
        assert len((await rounds.run()).seals) == 2
    assert [next(iter(command)) for command in commands].count("commitTransaction") == 2


# By the account's document: the next round.
AT_ONCE = [
    Tampering("accounts", {"_id": "bob"}, {"$inc": {"spent_nusd": 1}}, "account"),
    Tampering("accounts", {"_id": "bob"}, {"$set": {"spent_nusd": "5000"}}, "account"),
    Tampering("accounts", {"_id": "bob"}, {"$unset": {"spent_nusd": ""}}, "account"),
    Tampering("accounts", {"_id": "bob"}, {"$inc": {"entries": 1}}, "entries"),
    Tampering("accounts", {"_id": "bob"}, {"$set": {"entries": None}}, "entries"),
    Tampering("accounts", {"_id": "bob"}, {"$inc": {"spend.total": 0.5}}, "period:total"),
    Tampering("accounts", {"_id": "bob"}, {"$inc": {"spend.2026-11": -1}}, "period:2026-11"),
    Tampering("accounts", {"_id": "bob"}, {"$set": {"spend.2020-11": 9}}, "period:2020-11"),
    Tampering(
        "accounts", {"_id": "bob"}, {"$unset": {"spend.2026-11-24": ""}}, "period:2026-11-24"
    ),
]
# By the next proof from the first entry on.
WITHIN_A_WEEK = [
    Tampering("entries", {"user_id": "bob", "seq": 2}, {"$inc": {"cost_nusd": 1}}, "account"),
    Tampering("entries", {"user_id": "bob", "seq": 2}, {"$set": {"seq": 6}}, "entries"),
    Tampering("entries", {"user_id": "bob", "seq": 2}, {"$unset": {"seq": ""}}, "entries"),
    Tampering("entries", {"user_id": "bob", "seq": 2}, {"$set": {"seq": 3}}, "entries"),
    Tampering("entries", {"user_id": "bob", "seq": 2}, {"$set": {"cost_nusd": "x"}}, "account"),
    Tampering(
        "entries", {"user_id": "bob", "seq": 2}, {"$set": {"periods": ["total"]}}, "period:2026-11"
    ),
    Tampering("rollups", {"user_id": "bob"}, {"$inc": {"cost_nusd": -1}}, "rollups:2026-11-24"),
    Tampering("rollups", {"user_id": "bob"}, {"$set": {"day": "2026-11-23"}}, "rollups:2026-11-23"),
]


def difference_of(part: RoundPart) -> Difference:
    assert part.findings.drifting == 1
    difference = part.findings.first_difference
    assert difference is not None
    assert difference.user_id == "bob"
    return difference


@pytest.mark.parametrize("tampering", AT_ONCE)
async def test_tampering_in_the_account_document_is_found_in_the_next_round(
    rounds: Rounds, tampering: Tampering
) -> None:
    await tampering.do(rounds.stage.database)
    for _ in range(2):
        assert difference_of(await rounds.run()).where == tampering.where


@pytest.mark.parametrize("tampering", WITHIN_A_WEEK)
async def test_tampering_outside_the_account_document_is_found_within_a_week(
    rounds: Rounds, tampering: Tampering
) -> None:
    """Of an account that has not changed since its checkpoint, and of one that has."""
    await tampering.do(rounds.stage.database)
    assert (await rounds.run()).findings.unchanged == 2
    await post(rounds.stage, 1, "bob")
    assert (await rounds.prover.prove("bob", full=True)).difference is not None
    rounds.now = NOW + WEEK
    assert difference_of(await rounds.run()).where == tampering.where


@pytest.mark.parametrize(
    "tampering",
    [
        Tampering("accounts", {"_id": "alice"}, {"$set": {"spend": 5}}),
        Tampering("accounts", {"_id": "alice"}, {"$set": {"spend": {"total": [1]}, "entries": {}}}),
        Tampering("rollups", {"user_id": "alice"}, {"$set": {"day": 5}}),
        Tampering("entries", {"user_id": "alice", "seq": 2}, {"$set": {"periods": [5, None]}}),
        Tampering("checkpoints", {"_id": "alice"}, {"$set": {"seq": "five", "document": ""}}),
        Tampering("checkpoints", {"_id": "alice"}, {"$set": {"full_at": "today"}}),
    ],
)
async def test_an_unreadable_document_is_found_and_does_not_end_the_round(
    rounds: Rounds, tampering: Tampering
) -> None:
    await tampering.do(rounds.stage.database)
    await Tampering("accounts", {"_id": "bob"}, {"$inc": {"spent_nusd": 1}}).do(
        rounds.stage.database
    )
    rounds.now = NOW + WEEK
    part = await rounds.run()
    # A checkpoint alone is made anew.
    drifting = 1 if tampering.collection == "checkpoints" else 2
    assert (part.findings.accounts, part.findings.drifting) == (2, drifting)


async def test_a_count_that_is_too_low_is_found(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reading all the entries that nothing counts."""
    await Tampering("accounts", {"_id": "bob"}, {"$set": {"entries": 0}}).do(rounds.stage.database)
    monkeypatch.setattr("libs.common.storage.mongo.proofs._MAX_ENTRIES", 2)
    for start in (True, False):
        proof = await rounds.prover.prove("bob", full=start)
        assert proof.difference is not None
        assert proof.difference.where == "entries"


async def test_a_removed_entry_is_found_within_a_week(rounds: Rounds) -> None:
    await rounds.stage.database["entries"].delete_one({"user_id": "bob", "seq": 3})
    assert (await rounds.run()).findings.drifting == 0
    rounds.now = NOW + WEEK
    difference = difference_of(await rounds.run())
    # In the first stretch of three.
    assert (difference.where, difference.expected, difference.found) == ("entries", 3, 2)


@pytest.mark.parametrize(
    ("period", "value", "found"),
    [
        ("total", f"{5 * COST - 1}:{2**50}", 5 * COST - 1),
        ("2026-11-24", f"{5 * COST + 1}:{2**50}", 5 * COST + 1),
        # Nothing was spent in that period.
        ("2026-11-25", f"7:{2**50}", 7),
        ("total", "many", NO_AMOUNT),
        # An older figure that nothing brings up to date.
        ("total", "0:1", 0),
    ],
)
async def test_a_copy_that_differs_is_found_in_the_next_round(
    rounds: Rounds, period: str, value: str, found: int
) -> None:
    stage = rounds.stage
    await stage.redis.set(f"gateway:{{bob}}:spent:{period}", value)
    # Of an account without a copy nothing is wrong.
    assert await stage.redis.keys("gateway:{alice}:spent:*") == []
    before = await redis_commands(stage)
    part = await rounds.run()
    assert part.findings.unchanged == 2
    difference = difference_of(part)
    assert (difference.where, difference.found) == (f"redis:{period}", found)
    assert await redis_commands(stage) - before <= 8


async def test_true_copies_of_a_page_are_compared_at_once(rounds: Rounds) -> None:
    stage = rounds.stage
    for user_id in USERS:
        await stage.redis.set(f"gateway:{{{user_id}}}:spent:total", f"{5 * COST}:1")
    await post(stage, 1, "bob")
    await stage.redis.set("gateway:{bob}:spent:total", f"{6 * COST}:1")
    before = await redis_commands(stage)
    assert (await rounds.run()).findings.drifting == 0
    assert await redis_commands(stage) - before == 1


async def test_each_account_is_proved_in_full_once_a_week(rounds: Rounds) -> None:
    """At a time of its own, whatever the rounds' number."""
    proved: dict[str, list[datetime]] = {user_id: [] for user_id in USERS}
    for hour in range(1, 24 * 21, 6):
        rounds.now = NOW + timedelta(hours=hour)
        for seal in (await rounds.run()).seals:
            proved[seal.checkpoint.user_id].append(rounds.now)
    for times in proved.values():
        assert len(times) == 3
        assert times[0] - NOW <= WEEK + timedelta(hours=6)
        assert {b - a for a, b in pairwise(times)} == {WEEK}
    assert proved["alice"] != proved["bob"]


async def test_a_checkpoint_of_an_earlier_release_is_gone_on_from(rounds: Rounds) -> None:
    checkpoints = rounds.stage.database["checkpoints"]
    await checkpoints.update_many({}, {"$unset": {"document": "", "full_at": ""}})
    await rounds.stage.database["entries"].delete_one({"user_id": "bob", "seq": 3})
    part = await rounds.run()
    # What it had proved is not read again.
    assert (len(part.seals), part.findings.drifting) == (2, 0)
    assert (await rounds.run()).findings.unchanged == 2
    rounds.now = NOW + WEEK
    assert difference_of(await rounds.run()).where == "entries"


async def test_a_removed_account_is_found_by_its_checkpoint(rounds: Rounds) -> None:
    for user_id in ("carol", "dave"):
        await rounds.stage.add_account(user_id)
    await rounds.run()
    # Nothing is lost with an account that had no entries.
    await rounds.stage.database["accounts"].delete_many({"_id": {"$in": ["bob", "carol"]}})
    part = await rounds.run()
    assert (part.findings.accounts, part.findings.unchanged) == (3, 2)
    difference = difference_of(part)
    assert (difference.where, difference.found) == ("account", None)


async def test_entries_without_an_account_are_found_within_a_week(rounds: Rounds) -> None:
    for user_id in ("aaron", "bea", "zoe"):
        document = await rounds.stage.database["entries"].find_one({"user_id": "bob"})
        assert document is not None
        orphan = {**document, "_id": new_call_id(), "user_id": user_id}
        await rounds.stage.database["entries"].insert_one(orphan)
    # After the last account always; elsewhere beside accounts that are proved.
    part = await rounds.run()
    assert (part.findings.accounts, part.findings.drifting) == (3, 1)
    rounds.now = NOW + WEEK
    part = await rounds.run()
    assert (part.findings.accounts, part.findings.drifting) == (5, 3)
    assert part.findings.first_difference is not None
    assert part.findings.first_difference.user_id == "aaron"


async def test_pages_cover_every_account(stage: Stage) -> None:
    """Among checkpoints of accounts that were removed, more of them than a page has."""
    users = [f"user-{n}" for n in range(7)]
    for user_id in users:
        await stage.add_account(user_id)
        await post(stage, 1, user_id)
    rounds = Rounds(stage, page=2)
    gone = [f"user-3-{n}" for n in range(6)] + [f"z-{n}" for n in range(5)]
    await stage.database["checkpoints"].insert_many([{"_id": id_, "seq": 0} for id_ in gone])
    for unchanged in (False, True):
        after, proved = None, list[str]()
        for _ in range(20):
            part = await rounds.part(after)
            await rounds.proofs.save(part.seals)
            proved += [seal.checkpoint.user_id for seal in part.seals]
            assert part.findings.unchanged == (part.findings.accounts if unchanged else 0)
            after = part.findings.next_after
            if part.is_last:
                break
        assert after is None
        assert proved == ([] if unchanged else sorted([*USERS, *users]))


async def test_a_killed_worker_s_round_goes_on_after_its_last_page(stage: Stage) -> None:
    for user_id in ("carol", "dave", "erin"):
        await stage.add_account(user_id)
    rounds = Rounds(stage, page=2)

    class Killed(Exception):
        pass

    async def die(*_: Any, **__: Any) -> None:
        raise Killed

    pages = ProofPages(stage.database, page=2)
    rounds.prover._pages, read_page = pages, pages.read

    async def read_one(after: str | None) -> Any:
        return await read_page(after) if after is None else await die()

    pages.read = read_one  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await rounds.verifier().take_turn()
    assert (await rounds.proofs.progress()).after == "bob"
    await stage.redis.delete("gateway:worker:verify")
    other = Rounds(stage, page=2)
    with sent_commands() as commands:
        await other.verifier().take_turn()
    progress = await other.proofs.progress()
    assert (progress.after, progress.ok) == (None, True)
    proved = {
        user_id
        for command in commands
        if collection_of(command) == "accounts"
        for user_id in command["filter"]["_id"].get("$in", ())
    }
    assert proved == {"carol", "dave", "erin"}


async def test_a_long_proof_is_cut_and_gone_on_with(stage: Stage) -> None:
    await post(stage, 10)
    rounds = Rounds(stage)
    first = await rounds.part(within_s=-1)
    assert (first.findings.accounts, first.is_last) == (0, False)
    checkpoint = Checkpoint(
        user_id="alice", seq=3, nusd=3 * COST, periods=dict.fromkeys(PERIODS, 3 * COST)
    )
    assert first.under_way == UnderWay(checkpoint=checkpoint, began_at=NOW)
    verifier = rounds.verifier(within_s=-1)
    for seq in (3, 6, 9):
        await stage.redis.delete("gateway:worker:verify")
        await verifier.take_turn()
        progress = await rounds.proofs.progress()
        assert progress.under_way is not None
        assert progress.under_way.checkpoint.seq == seq
        rounds.now += timedelta(hours=1)
    # Also one whose stretches have all been read finds what it is compared with.
    await Tampering("rollups", {"user_id": "alice"}, {"$inc": {"cost_nusd": 1}}).do(stage.database)
    await stage.redis.delete("gateway:worker:verify")
    await verifier.take_turn()
    progress = await rounds.proofs.progress()
    assert (progress.after, progress.under_way, progress.ok) == ("alice", None, False)
    await Tampering("rollups", {"user_id": "alice"}, {"$inc": {"cost_nusd": -1}}).do(stage.database)
    part = await rounds.part(None, first.under_way)
    assert [seal.full_at for seal in part.seals if seal.checkpoint.seq] == [NOW]


async def test_two_workers_do_not_prove_a_round_twice(stage: Stage) -> None:
    """The turn keeps them apart; where Redis lost it, the progress does."""
    rounds = Rounds(stage, page=1)
    proofs = rounds.proofs
    assert await proofs.save_progress(Progress()) == Progress(saves=1)
    assert await proofs.save_progress(Progress(after="x")) is None
    read_page = rounds.prover._pages.read

    async def read_late(after: str | None) -> Any:
        page = await read_page(after)
        if after is None:
            await stage.redis.delete("gateway:worker:verify")
            await Rounds(stage, page=1).verifier().take_turn()
        return page

    rounds.prover._pages.read = read_late  # type: ignore[method-assign]
    await rounds.verifier().take_turn()
    # The other has ended the round; this one has stopped at its first page.
    progress = await proofs.progress()
    assert (progress.after, progress.ok, progress.saves) == (None, True, 1 + 3)
