"""Proves the ledger in pages of accounts, with Redis' copies."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

import msgspec
import structlog

from libs.common.account_proof import STRETCH, AccountProver, Proof, Unproved
from libs.common.copy_comparison import CopyComparison
from libs.common.domain.checkpoints import Checkpoint, Difference, is_due_in_full
from libs.common.domain.periods import present_periods
from libs.common.findings import Findings, ProofResult, RoundPart, findings_of, part_of
from libs.common.proof_batches import Batch, ProofBatches, ProofStart, StartOf, start_at
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.proof_pages import ProofCandidate, ProofPages
from libs.common.storage.mongo.proofs import ProofStore, UnderWay
from libs.common.storage.queue.event_queue import queue_is_empty
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.spend import RedisSpendReader

# Raised by a value of a type that the ledger never writes.
_UNREADABLE = (AttributeError, TypeError, ValueError, msgspec.ValidationError)

log = structlog.get_logger(__name__)


class Prover:
    """Redis' copies of a page are compared together."""

    def __init__(
        self,
        *,
        proofs: ProofStore,
        pages: ProofPages,
        copies: CopyComparison,
        now: Callable[[], datetime],
        stretch: int = STRETCH,
    ) -> None:
        self._proofs = proofs
        self._pages = pages
        self._copies = copies
        self._now = now
        self._accounts = AccountProver(proofs, stretch=stretch)
        self._batches = ProofBatches(proofs, now)

    async def prove(self, user_id: str, *, full: bool) -> Proof:
        """Proves one account, known or not. `full` ignores its checkpoint."""
        now = self._now()
        [result] = await self._compared(await self._look([start_at(user_id, now, full=full)]))
        return result.proof

    async def prove_one(self, user_id: str, *, full: bool) -> Findings:
        """As `prove_all`, for one account."""
        proof = await self.prove(user_id, full=full)
        return findings_of([ProofResult(proof=proof, full_at=self._now())])

    async def prove_all(
        self, *, full: bool, after: str | None = None, within_s: float | None = None
    ) -> Findings:
        """Proves every account in order, starting after `after`, until `within_s` is over.

        `full` ignores checkpoints.
        """
        give_up_at = None if within_s is None else monotonic() + within_s
        now = self._now()

        def start_of(candidate: ProofCandidate) -> ProofStart:
            return start_at(candidate.user_id, now, full=full)

        findings = Findings(next_after=after)
        while True:
            part = await self._prove_page(findings.next_after, start_of, give_up_at)
            findings = findings.with_later(part.findings)
            if part.is_last or _is_over(give_up_at):
                return findings

    async def prove_due(
        self,
        after: str | None,
        under_way: UnderWay | None,
        *,
        full_every: timedelta,
        give_up_at: float,
    ) -> RoundPart:
        """As `prove_all`, of a page at most: leaves out what has not changed.

        Each account is proved from its first entry on once in `full_every`. `under_way` is such a
        proof, of the account that comes next.
        """
        start_of = partial(_due_start, under_way=under_way, now=self._now(), full_every=full_every)
        return await self._prove_page(after, start_of, give_up_at, may_cut=True)

    async def _prove_page(
        self,
        after: str | None,
        start_of: StartOf,
        give_up_at: float | None,
        *,
        may_cut: bool = False,
    ) -> RoundPart:
        page = await self._pages.read(after)
        results: list[ProofResult] = []
        next_after, cut_result = page.until, None
        async with aclosing(self._batches.of(page, after, start_of)) as batches:
            async for batch in batches:
                if results and _is_over(give_up_at):
                    next_after = results[-1].user_id
                    break
                batch_results = await self._look_at(batch, give_up_at, may_cut=may_cut)
                if batch_results[-1].proof.is_cut:
                    cut_result = batch_results.pop()
                results += batch_results
                if cut_result is not None or len(batch_results) < len(batch):
                    next_after = results[-1].user_id if results else after
                    break
        return part_of(await self._compared(results), next_after, cut_result)

    async def _look_at(
        self, batch: Batch, give_up_at: float | None, *, may_cut: bool
    ) -> list[ProofResult]:
        """At its first ones, of which the last one may be cut, where there is no time for more."""
        starts = [each for each in batch if isinstance(each, ProofStart)]
        new_results = iter(await self._look(starts, give_up_at, may_cut=may_cut))
        results: list[ProofResult] = []
        for each in batch:
            result = each if isinstance(each, ProofResult) else next(new_results, None)
            if result is None:
                break
            results.append(result)
            if result.proof.is_cut:
                break
        return results

    async def _look(
        self,
        starts: Sequence[ProofStart],
        give_up_at: float | None = None,
        *,
        may_cut: bool = False,
    ) -> list[ProofResult]:
        try:
            return await self._prove(starts, give_up_at, may_cut=may_cut)
        except _UNREADABLE:
            if len(starts) == 1:
                # The accounts after it are proved nevertheless.
                log.exception("account.unreadable", user_id=starts[0].user_id)
                return [
                    ProofResult(proof=_unreadable(starts[0].user_id), full_at=starts[0].full_at)
                ]
        results: list[ProofResult] = []
        for start in starts:
            results += await self._look([start], give_up_at, may_cut=may_cut)
            if _is_over(give_up_at):
                break
        return results

    async def _prove(
        self, starts: Sequence[ProofStart], give_up_at: float | None, *, may_cut: bool
    ) -> list[ProofResult]:
        began_at = self._now()
        user_ids = [start.user_id for start in starts if start.checkpoint is None]
        checkpoints = await self._proofs.checkpoints(user_ids)
        accounts, full_at = [], []
        for start in starts:
            checkpoint = start.checkpoint or checkpoints[start.user_id]
            full = start.full or checkpoint.seq == 0
            accounts.append(Unproved(checkpoint=checkpoint, full=full, entries=start.entries))
            full_at.append(start.full_at if start.full or not full else began_at)
        proofs = await self._accounts.prove(accounts, give_up_at=give_up_at, may_cut=may_cut)
        return [
            ProofResult(proof=proof, full_at=at) for proof, at in zip(proofs, full_at, strict=False)
        ]

    async def _compared(self, results: list[ProofResult]) -> list[ProofResult]:
        """With the differences of Redis' copies: of present periods, and of all that were read."""
        present = dict.fromkeys(present_periods(self._now()), 0)
        amounts = {}
        for result in results:
            by_period = result.proof.amounts
            if result.is_unchanged:
                amounts[result.user_id] = {period: by_period.get(period, 0) for period in present}
            elif result.proof.difference is None:
                amounts[result.user_id] = {**present, **by_period}
        differences = await self._copies.differences(amounts)
        return [result.differing(differences.get(result.user_id)) for result in results]


def _due_start(
    candidate: ProofCandidate, *, under_way: UnderWay | None, now: datetime, full_every: timedelta
) -> ProofStart | None:
    user_id, full_at = candidate.user_id, candidate.full_at
    if under_way is not None and under_way.checkpoint.user_id == user_id:
        began_at, checkpoint = under_way.began_at, under_way.checkpoint
        return ProofStart(user_id=user_id, checkpoint=checkpoint, full=True, full_at=began_at)
    if full_at is None:
        return start_at(user_id, now, full=not candidate.has_checkpoint)
    if is_due_in_full(user_id, full_at, now, full_every):
        return start_at(user_id, now, full=True)
    return None if candidate.is_unchanged else ProofStart(user_id=user_id, full_at=full_at)


def _unreadable(user_id: str) -> Proof:
    difference = Difference(
        user_id=user_id, where="unreadable", unit="entries", expected=0, found=None
    )
    return Proof(checkpoint=Checkpoint(user_id=user_id), difference=difference)


def _is_over(give_up_at: float | None) -> bool:
    return give_up_at is not None and monotonic() > give_up_at


def _utc_now() -> datetime:
    return datetime.now(UTC)


def prover_of(database: Database, redis: Redis, now: Callable[[], datetime] = _utc_now) -> Prover:
    """`database` has the ledger; `redis` has the worker's queue and the copies of spend."""

    async def settling() -> bool:
        return not await queue_is_empty(redis)

    return Prover(
        proofs=ProofStore(database),
        pages=ProofPages(database),
        copies=CopyComparison(LedgerReader(database), RedisSpendReader(redis), settling),
        now=now,
    )
