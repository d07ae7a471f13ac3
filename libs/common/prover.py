"""Proves the ledger by account: entries against spend, periods, rollups and Redis' copy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import msgspec

from libs.common.domain.verify import (
    Checkpoint,
    Difference,
    advance,
    compare,
    days_in,
)
from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.proofs import ProofStore
from libs.common.storage.queue.event_queue import queue_is_empty
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.spend import RedisSpendReader

# Entries read in one transaction, which MongoDB bounds to a minute and the driver to seconds.
_STRETCH = 10_000
_PAGE = 200
# A lagging copy is read again so often, at this interval.
_LOOKS = 4
_PAUSE_S = 0.25


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Of one account: its last sound checkpoint, and its first difference."""

    checkpoint: Checkpoint
    difference: Difference | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Of all accounts that were proved; `next_after` is None after the last account."""

    accounts: int = 0
    entries: int = 0
    entries_nusd: int = 0
    drifting: int = 0
    first_difference: Difference | None = None
    next_after: str | None = None


class Prover:
    """`settling` returns whether postings may still reach Redis' copy."""

    def __init__(
        self,
        *,
        proofs: ProofStore,
        ledger: LedgerReader,
        redis_spend: RedisSpendReader,
        settling: Callable[[], Awaitable[bool]],
        stretch: int = _STRETCH,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._proofs = proofs
        self._ledger = ledger
        self._redis_spend = redis_spend
        self._settling = settling
        self._stretch = stretch
        self._pause_s = pause_s

    async def prove_all(
        self,
        *,
        full: bool,
        after: str | None = None,
        within_s: float | None = None,
        proved: Callable[[Checkpoint], Awaitable[None]] | None = None,
    ) -> Findings:
        """Proves accounts in order, starting after `after`, until `within_s` is over.

        `full` ignores checkpoints. `proved` gets the new checkpoint of each sound account.
        """
        give_up_at = None if within_s is None else monotonic() + within_s
        findings = Findings()
        async for user_id in self._users(after):
            if give_up_at is not None and monotonic() > give_up_at and findings.accounts:
                return msgspec.structs.replace(findings, next_after=after)
            proof = await self.prove(user_id, full=full)
            if proof.difference is None and proved is not None:
                await proved(proof.checkpoint)
            findings = _with(findings, proof)
            after = user_id
        return findings

    async def prove_one(self, user_id: str, *, full: bool) -> Findings:
        """As `prove_all`, for one account."""
        return _with(Findings(), await self.prove(user_id, full=full))

    async def prove(self, user_id: str, *, full: bool) -> Proof:
        """Proves one account, known or not."""
        start = Checkpoint(user_id=user_id) if full else await self._proofs.checkpoint(user_id)
        from_scratch = start.seq == 0
        proved, days = start, set[str]()
        # Entries far from the end cannot change, so each stretch may have its own snapshot.
        upto = await self._proofs.entries(user_id)
        while proved.seq + self._stretch < upto:
            end = proved.seq + self._stretch
            added = await self._proofs.sums(user_id, proved.seq, end)
            days.update(days_in(added.periods))
            stretched = advance(proved, added, end)
            if isinstance(stretched, Difference):
                return Proof(checkpoint=proved, difference=stretched)
            proved = stretched
        added, kept = await self._proofs.tail(user_id, proved.seq, None if from_scratch else days)
        # Entries without an account: nothing counts them, so their own number is taken.
        entries = proved.seq + added.number if kept.nusd is None else kept.entries
        advanced = advance(proved, added, entries)
        if isinstance(advanced, Difference):
            return Proof(checkpoint=proved, difference=advanced)
        if from_scratch:
            rollups = dict.fromkeys(days_in(advanced.periods), 0) | dict(kept.rollups)
            kept = msgspec.structs.replace(kept, rollups=rollups)
        difference = next(compare(advanced, kept), None)
        if difference is None and from_scratch:
            difference = await self._unnumbered(advanced)
        if difference is None:
            difference = await self._copy_difference(user_id, sorted(kept.periods))
        return Proof(checkpoint=advanced, difference=difference)

    async def _users(self, after: str | None) -> AsyncIterator[str]:
        """In order: accounts, and those that have entries alone."""
        while page := await self._proofs.user_ids(after=after, limit=_PAGE):
            for user_id in page:
                while (stray := await self._proofs.stray(after, user_id)) is not None:
                    yield stray
                    after = stray
                yield user_id
                after = user_id
        while (stray := await self._proofs.stray(after, None)) is not None:
            yield stray
            after = stray

    async def _unnumbered(self, proved: Checkpoint) -> Difference | None:
        number = await self._proofs.unnumbered(proved.user_id)
        if number == 0:
            return None
        return Difference(
            user_id=proved.user_id,
            where="entries",
            unit="entries",
            expected=proved.seq,
            found=proved.seq + number,
        )

    async def _copy_difference(self, user_id: str, periods: list[str]) -> Difference | None:
        """A copy may be missing, and may lag while a posting settles."""
        first = await self._lagging(user_id, periods)
        lagging = first
        for _ in range(_LOOKS):
            certain = next((row for row in lagging if not row.may_catch_up), None)
            if certain is not None:
                return certain.difference(user_id)
            if not lagging:
                return None
            await asyncio.sleep(self._pause_s)
            lagging = await self._lagging(user_id, [row.period for row in lagging])
        at_first = {row.period: row.copy for row in first}
        stuck = [row for row in lagging if row.copy == at_first.get(row.period)]
        if not stuck or await self._settling():
            return None
        return stuck[0].difference(user_id)

    async def _lagging(self, user_id: str, periods: list[str]) -> list["_Lag"]:
        # Redis first: a copy that is newer than MongoDB's later figure is wrong.
        copies = await self._redis_spend.of(user_id, periods)
        spent = await self._ledger.spend_with_revisions([user_id], periods)
        rows = [
            _Lag(period, copy, spent.get((user_id, period), PeriodSpend()))
            for period, copy in copies.items()
        ]
        return [row for row in rows if row.copy.nusd != row.kept.nusd]


class _Lag(msgspec.Struct, frozen=True):
    period: str
    copy: PeriodSpend
    kept: PeriodSpend

    @property
    def may_catch_up(self) -> bool:
        return self.kept.revision == 0 or self.copy.revision < self.kept.revision

    def difference(self, user_id: str) -> Difference:
        return Difference(
            user_id=user_id,
            where=f"redis:{self.period}",
            expected=self.kept.nusd,
            found=self.copy.nusd,
        )


def _with(findings: Findings, proof: Proof) -> Findings:
    difference = proof.difference
    return msgspec.structs.replace(
        findings,
        accounts=findings.accounts + 1,
        entries=findings.entries + proof.checkpoint.seq,
        entries_nusd=findings.entries_nusd + proof.checkpoint.nusd,
        drifting=findings.drifting + (difference is not None),
        first_difference=findings.first_difference or difference,
    )


def prover_of(database: Database, redis: Redis) -> Prover:
    """`database` has the ledger; `redis` has the worker's queue and the copies of spend."""

    async def settling() -> bool:
        return not await queue_is_empty(redis)

    return Prover(
        proofs=ProofStore(database),
        ledger=LedgerReader(database),
        redis_spend=RedisSpendReader(redis),
        settling=settling,
    )
