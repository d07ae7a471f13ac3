"""Groups the accounts of a page for their proof, and finds where each proof starts."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from libs.common.account_proof import Proof
from libs.common.domain.checkpoints import Checkpoint
from libs.common.findings import ProofResult
from libs.common.storage.mongo.proof_pages import ProofCandidate, ProofPage
from libs.common.storage.mongo.proofs import ProofStore

# Accounts whose ends are read in one snapshot.
_PROVED_AT_ONCE = 20
# Gaps that are looked into at a time: postings share the driver's threads.
_GAPS_AT_ONCE = 4


class ProofStart(msgspec.Struct, frozen=True, kw_only=True):
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
StartOf = Callable[[ProofCandidate], ProofStart | None]
# In order of user_id; at those that are looked at already, nothing is to be read.
Batch = list[ProofStart | ProofResult]
# The user_ids that it lies between; None: the first, or the last one.
_Gap = tuple[str | None, str | None]


class ProofBatches:
    """Reads nothing but which accounts have entries."""

    def __init__(self, proofs: ProofStore, now: Callable[[], datetime]) -> None:
        self._proofs = proofs
        self._now = now

    async def of(
        self, page: ProofPage, after: str | None, start_of: StartOf
    ) -> AsyncGenerator[Batch, None]:
        """Of accounts, and of those that have entries alone, which are looked for before each
        account that is proved and after the last one.
        """
        batch: Batch = []
        gaps: list[_Gap] = []
        for candidate in page.candidates:
            start = start_of(candidate)
            if start is None:
                batch.append(_unchanged(candidate))
            else:
                batch.append(msgspec.structs.replace(start, entries=candidate.entries))
                gaps.append((after, candidate.user_id))
            after = candidate.user_id
            if len(gaps) == _PROVED_AT_ONCE:
                yield _in_order(batch, await self._strays(gaps))
                batch, gaps = [], []
        if page.until is None:
            gaps.append((after, None))
        if batch := _in_order(batch, await self._strays(gaps)):
            yield batch

    async def _strays(self, gaps: Sequence[_Gap]) -> list[ProofStart]:
        starts: list[ProofStart] = []
        for n in range(0, len(gaps), _GAPS_AT_ONCE):
            chunk = gaps[n : n + _GAPS_AT_ONCE]
            for strays in await asyncio.gather(*(self._strays_in(*gap) for gap in chunk)):
                starts += strays
        return starts

    async def _strays_in(self, after: str | None, before: str | None) -> list[ProofStart]:
        starts: list[ProofStart] = []
        while (stray := await self._proofs.stray(after, before)) is not None:
            starts.append(start_at(stray, self._now(), full=True))
            after = stray
        return starts


def start_at(user_id: str, now: datetime, *, full: bool) -> ProofStart:
    first = Checkpoint(user_id=user_id) if full else None
    return ProofStart(user_id=user_id, checkpoint=first, full=full, full_at=now)


def _in_order(batch: Batch, strays: Iterable[ProofStart]) -> Batch:
    return sorted([*batch, *strays], key=lambda each: each.user_id)


def _unchanged(candidate: ProofCandidate) -> ProofResult:
    checkpoint = Checkpoint(user_id=candidate.user_id, seq=candidate.entries, nusd=candidate.nusd)
    proof = Proof(checkpoint=checkpoint, amounts=candidate.spend)
    return ProofResult(proof=proof, full_at=None)
