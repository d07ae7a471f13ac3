"""Proves accounts: the entries of each against its spend, periods and rollups."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from time import monotonic

import msgspec

from libs.common.domain.checkpoints import (
    AccountSums,
    Checkpoint,
    Difference,
    EntrySums,
    advance,
    compare,
    days_in,
)
from libs.common.storage.mongo.proofs import ProofStore, Tail

# Entries read in one transaction, which MongoDB bounds to a minute and the driver to seconds.
STRETCH = 10_000


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one account: its last sound checkpoint, and its first difference.

    `amounts` are nano-USD by period, and `document` the fingerprint of the account's document, both
    of what the checkpoint agrees with. `is_cut`: there was no time for the rest of the entries.
    """

    checkpoint: Checkpoint
    difference: Difference | None = None
    amounts: Mapping[str, int] = {}
    document: str = ""
    is_cut: bool = False


class Unproved(msgspec.Struct, frozen=True, kw_only=True):
    """An account, of which the entries after `checkpoint` are to be read.

    `full`: the entries before it have been read for this proof, too, which then compares the
    rollups of every day, and may be cut. `entries`: the account's count of them a moment ago, where
    it is known.
    """

    checkpoint: Checkpoint
    full: bool
    entries: int | None = None

    @property
    def user_id(self) -> str:
        return self.checkpoint.user_id


class _End(msgspec.Struct, frozen=True, kw_only=True):
    """An account whose entries were read up to `checkpoint`, with about `remaining` after it.

    `days`: those whose rollups are compared, with those of the remaining entries; None: all.
    """

    checkpoint: Checkpoint
    remaining: int
    days: Collection[str] | None

    @property
    def user_id(self) -> str:
        return self.checkpoint.user_id


class AccountProver:
    """Reads entries a stretch at a time, and the ends of several accounts in one snapshot."""

    def __init__(self, proofs: ProofStore, *, stretch: int = STRETCH) -> None:
        self._proofs = proofs
        self._stretch = stretch

    async def prove(
        self,
        accounts: Sequence[Unproved],
        *,
        give_up_at: float | None = None,
        may_cut: bool = False,
    ) -> list[Proof]:
        """Of each account, in their order; of the first ones, where there is no time for more."""
        proofs: dict[str, Proof] = {}
        ends: list[_End] = []
        for account in accounts:
            outcome = await self._read_stretches(account, give_up_at if may_cut else None)
            if isinstance(outcome, Proof):
                proofs[account.user_id] = outcome
            else:
                ends.append(outcome)
            if give_up_at is not None and monotonic() > give_up_at:
                break
        for group in self._within_a_stretch(ends):
            proofs |= await self._prove_ends(group)
        return [proofs[each.user_id] for each in accounts if each.user_id in proofs]

    async def _read_stretches(self, account: Unproved, cut_at: float | None) -> _End | Proof:
        user_id, checkpoint, days = account.user_id, account.checkpoint, set[str]()
        # Entries far from the end cannot change, so each stretch may have its own snapshot.
        upto = account.entries
        if upto is None:
            upto = await self._proofs.entries(user_id)
        while checkpoint.seq + self._stretch < upto:
            end = checkpoint.seq + self._stretch
            sums = await self._proofs.sums(user_id, checkpoint.seq, end)
            days.update(days_in(sums.periods))
            advanced = advance(checkpoint, sums, end)
            if isinstance(advanced, Difference):
                return Proof(checkpoint=checkpoint, difference=advanced)
            checkpoint = advanced
            if account.full and cut_at is not None and monotonic() > cut_at:
                return Proof(checkpoint=checkpoint, is_cut=True)
        return _End(
            checkpoint=checkpoint,
            remaining=max(upto - checkpoint.seq, 0),
            days=None if account.full else days,
        )

    def _within_a_stretch(self, ends: Iterable[_End]) -> Iterator[list[_End]]:
        """As many together as have no more entries remaining than one snapshot may read."""
        group: list[_End] = []
        for end in ends:
            if group and sum(each.remaining for each in group) + end.remaining > self._stretch:
                yield group
                group = []
            group.append(end)
        if group:
            yield group

    async def _prove_ends(self, ends: Sequence[_End]) -> dict[str, Proof]:
        tails = await self._proofs.tails(
            [Tail(user_id=end.user_id, after=end.checkpoint.seq, days=end.days) for end in ends]
        )
        proofs = {end.user_id: _proof(end, *tails[end.user_id]) for end in ends}
        sound = [end for end in ends if proofs[end.user_id].difference is None]
        full = [end.user_id for end in sound if end.days is None]
        for user_id, number in (await self._proofs.unnumbered(full) if full else {}).items():
            seq = proofs[user_id].checkpoint.seq
            difference = Difference(
                user_id=user_id, where="entries", unit="entries", expected=seq, found=seq + number
            )
            proofs[user_id] = msgspec.structs.replace(proofs[user_id], difference=difference)
        return proofs


def _proof(end: _End, sums: EntrySums, account: AccountSums) -> Proof:
    checkpoint = end.checkpoint
    # Entries without an account: nothing counts them, so their own number is taken.
    upto = checkpoint.seq + sums.number if account.nusd is None else account.entries
    advanced = advance(checkpoint, sums, upto)
    if isinstance(advanced, Difference):
        return Proof(checkpoint=checkpoint, difference=advanced)
    if end.days is None:
        rollups = dict.fromkeys(days_in(advanced.periods), 0) | dict(account.rollups)
        account = msgspec.structs.replace(account, rollups=rollups)
    return Proof(
        checkpoint=advanced,
        difference=next(compare(advanced, account), None),
        amounts=account.periods,
        document=account.document,
    )
