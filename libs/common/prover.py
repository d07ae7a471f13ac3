"""Proves the ledger in pages of accounts: which of them, from where on, and with Redis' copies."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

import msgspec
import structlog

from libs.common.account_proof import STRETCH, AccountProver, Proof
from libs.common.copy_comparison import CopyComparison
from libs.common.domain.periods import present_periods
from libs.common.domain.verify import Checkpoint, Difference, is_due_in_full
from libs.common.findings import Findings, Looked, Part, findings_of, part_of
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.mongo.proof_pages import Candidate, Page, ProofPages
from libs.common.storage.mongo.proofs import ProofStore, UnderWay
from libs.common.storage.queue.event_queue import queue_is_empty
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.spend import RedisSpendReader

# What a value of a type that the ledger never writes brings about, where it is no amount.
_UNREADABLE = (AttributeError, TypeError, ValueError, msgspec.ValidationError)

log = structlog.get_logger(__name__)


class _Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where an account's proof starts: at `checkpoint`, by default at the one that is stored.

    `full`: the entries before it are read for this proof, too, which began at `full_at`. `entries`
    is the account's count of them.
    """

    user_id: str
    entries: int | None = None
    checkpoint: Checkpoint | None = None
    full: bool = False
    full_at: datetime


# None: the account's document says enough.
_StartOf = Callable[[Candidate], _Start | None]


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

    async def prove(self, user_id: str, *, full: bool) -> Proof:
        """Proves one account, known or not. `full` ignores its checkpoint."""
        now = self._now()
        [looked] = await self._compared([await self._look(_start(user_id, now, full=full))])
        return looked.proof

    async def prove_one(self, user_id: str, *, full: bool) -> Findings:
        """As `prove_all`, for one account."""
        proof = await self.prove(user_id, full=full)
        return findings_of([Looked(proof=proof, full_at=self._now())])

    async def prove_all(
        self, *, full: bool, after: str | None = None, within_s: float | None = None
    ) -> Findings:
        """Proves every account in order, starting after `after`, until `within_s` is over.

        `full` ignores checkpoints.
        """
        give_up_at = None if within_s is None else monotonic() + within_s
        now = self._now()

        def start_of(candidate: Candidate) -> _Start:
            return _start(candidate.user_id, now, full=full)

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
    ) -> Part:
        """As `prove_all`, of a page at most: leaves out what has not changed.

        Each account is proved from its first entry on once in `full_every`. `under_way` is such a
        proof, of the account that comes next.
        """
        start_of = partial(_due_start, under_way=under_way, now=self._now(), full_every=full_every)
        return await self._prove_page(after, start_of, give_up_at, cut_at=give_up_at)

    async def _prove_page(
        self,
        after: str | None,
        start_of: _StartOf,
        give_up_at: float | None,
        cut_at: float | None = None,
    ) -> Part:
        page = await self._pages.read(after)
        looked: list[Looked] = []
        reached, cut = page.until, None
        async with aclosing(self._starts(page, after, start_of)) as starts:
            async for start in starts:
                if looked and _is_over(give_up_at):
                    reached = looked[-1].user_id
                    break
                each = start if isinstance(start, Looked) else await self._look(start, cut_at)
                if each.proof.is_cut:
                    reached, cut = looked[-1].user_id if looked else after, each
                    break
                looked.append(each)
        return part_of(await self._compared(looked), reached, cut)

    async def _starts(
        self, page: Page, after: str | None, start_of: _StartOf
    ) -> AsyncGenerator[_Start | Looked, None]:
        """Of accounts, and of those that have entries alone, which are looked for before each
        account that is proved and after the last one.
        """
        for candidate in page.candidates:
            start = start_of(candidate)
            if start is None:
                yield _unchanged(candidate)
            else:
                async for stray in self._strays(after, candidate.user_id):
                    yield stray
                yield msgspec.structs.replace(start, entries=candidate.entries)
            after = candidate.user_id
        if page.until is None:
            async for stray in self._strays(after, None):
                yield stray

    async def _strays(self, after: str | None, before: str | None) -> AsyncGenerator[_Start, None]:
        while (stray := await self._proofs.stray(after, before)) is not None:
            yield _start(stray, self._now(), full=True)
            after = stray

    async def _look(self, start: _Start, cut_at: float | None = None) -> Looked:
        began_at, full = self._now(), start.full
        try:
            checkpoint = start.checkpoint or await self._proofs.checkpoint(start.user_id)
            full = full or checkpoint.seq == 0
            proof = await self._accounts.prove(
                checkpoint, full=full, entries=start.entries, cut_at=cut_at
            )
        except _UNREADABLE:
            # The accounts after it are proved nevertheless.
            log.exception("account.unreadable", user_id=start.user_id)
            proof = _unreadable(start.user_id)
        return Looked(proof=proof, full_at=start.full_at if start.full or not full else began_at)

    async def _compared(self, looked: list[Looked]) -> list[Looked]:
        """With the differences of Redis' copies: of present periods, and of all that were read."""
        present = dict.fromkeys(present_periods(self._now()), 0)
        amounts = {}
        for each in looked:
            kept = each.proof.amounts
            if each.is_unchanged:
                amounts[each.user_id] = {period: kept.get(period, 0) for period in present}
            elif each.proof.difference is None:
                amounts[each.user_id] = {**present, **kept}
        found = await self._copies.differences(amounts)
        return [each.differing(found.get(each.user_id)) for each in looked]


def _due_start(
    candidate: Candidate, *, under_way: UnderWay | None, now: datetime, full_every: timedelta
) -> _Start | None:
    user_id, full_at = candidate.user_id, candidate.full_at
    if under_way is not None and under_way.checkpoint.user_id == user_id:
        began_at, reached = under_way.began_at, under_way.checkpoint
        return _Start(user_id=user_id, checkpoint=reached, full=True, full_at=began_at)
    if full_at is None:
        return _start(user_id, now, full=not candidate.has_checkpoint)
    if is_due_in_full(user_id, full_at, now, full_every):
        return _start(user_id, now, full=True)
    return None if candidate.is_unchanged else _Start(user_id=user_id, full_at=full_at)


def _start(user_id: str, now: datetime, *, full: bool) -> _Start:
    first = Checkpoint(user_id=user_id) if full else None
    return _Start(user_id=user_id, checkpoint=first, full=full, full_at=now)


def _unchanged(candidate: Candidate) -> Looked:
    checkpoint = Checkpoint(user_id=candidate.user_id, seq=candidate.entries, nusd=candidate.nusd)
    proof = Proof(checkpoint=checkpoint, amounts=candidate.spend)
    return Looked(proof=proof, full_at=None)


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
