"""Proves one account: its entries against its spend, periods and rollups."""

from collections.abc import Mapping
from time import monotonic

import msgspec

from libs.common.domain.verify import (
    Checkpoint,
    Difference,
    Kept,
    advance,
    compare,
    days_in,
)
from libs.common.storage.mongo.proofs import ProofStore

# Entries read in one transaction, which MongoDB bounds to a minute and the driver to seconds.
STRETCH = 10_000


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Of one account: its last sound checkpoint, and its first difference.

    `amounts` are nano-USD by period, and `document` the fingerprint of the account's document, both
    of what the checkpoint agrees with. `is_cut`: there was no time for the rest of the entries.
    """

    checkpoint: Checkpoint
    difference: Difference | None = None
    amounts: Mapping[str, int] = {}
    document: str = ""
    is_cut: bool = False


class AccountProver:
    """Reads entries a stretch at a time."""

    def __init__(self, proofs: ProofStore, *, stretch: int = STRETCH) -> None:
        self._proofs = proofs
        self._stretch = stretch

    async def prove(
        self,
        start: Checkpoint,
        *,
        full: bool,
        entries: int | None = None,
        cut_at: float | None = None,
    ) -> Proof:
        """From `start` on. `full`: the entries before it have been read for this proof, too, which
        then compares the rollups of every day, and may be cut. `entries`: the account's count of
        them a moment ago, where it is known.
        """
        user_id, proved, days = start.user_id, start, set[str]()
        # Entries far from the end cannot change, so each stretch may have its own snapshot.
        upto = await self._proofs.entries(user_id) if entries is None else entries
        while proved.seq + self._stretch < upto:
            end = proved.seq + self._stretch
            added = await self._proofs.sums(user_id, proved.seq, end)
            days.update(days_in(added.periods))
            stretched = advance(proved, added, end)
            if isinstance(stretched, Difference):
                return Proof(checkpoint=proved, difference=stretched)
            proved = stretched
            if full and cut_at is not None and monotonic() > cut_at:
                return Proof(checkpoint=proved, is_cut=True)
        added, kept = await self._proofs.tail(user_id, proved.seq, None if full else days)
        # Entries without an account: nothing counts them, so their own number is taken.
        end = proved.seq + added.number if kept.nusd is None else kept.entries
        advanced = advance(proved, added, end)
        if isinstance(advanced, Difference):
            return Proof(checkpoint=proved, difference=advanced)
        return Proof(
            checkpoint=advanced,
            difference=await self._difference(advanced, kept, full=full),
            amounts=kept.periods,
            document=kept.document,
        )

    async def _difference(self, proved: Checkpoint, kept: Kept, *, full: bool) -> Difference | None:
        if full:
            rollups = dict.fromkeys(days_in(proved.periods), 0) | dict(kept.rollups)
            kept = msgspec.structs.replace(kept, rollups=rollups)
        difference = next(compare(proved, kept), None)
        if difference is not None or not full:
            return difference
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
