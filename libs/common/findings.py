"""The results of the proof, and the checkpoints to store."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.common.account_proof import Proof
from libs.common.domain.checkpoints import Difference, Seal
from libs.common.storage.mongo.proofs import UnderWay


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The findings over all checked accounts; those that were `unchanged` were not read.

    `next_after` is None after the last account.
    """

    accounts: int = 0
    unchanged: int = 0
    entries: int = 0
    entries_nusd: int = 0
    drifting: int = 0
    first_difference: Difference | None = None
    next_after: str | None = None

    def with_later(self, later: "Findings") -> "Findings":
        return Findings(
            accounts=self.accounts + later.accounts,
            unchanged=self.unchanged + later.unchanged,
            entries=self.entries + later.entries,
            entries_nusd=self.entries_nusd + later.entries_nusd,
            drifting=self.drifting + later.drifting,
            first_difference=self.first_difference or later.first_difference,
            next_after=later.next_after,
        )


class RoundPart(msgspec.Struct, frozen=True, kw_only=True):
    """Of a round: what was found, what is to be kept, and the proof that was cut and comes next."""

    findings: Findings
    seals: Sequence[Seal]
    under_way: UnderWay | None

    @property
    def is_last(self) -> bool:
        return self.findings.next_after is None and self.under_way is None


class ProofResult(msgspec.Struct, frozen=True, kw_only=True):
    """The proof of one account; `full_at` is when its last one in full began, None where only its
    document was read.
    """

    proof: Proof
    full_at: datetime | None

    @property
    def is_unchanged(self) -> bool:
        return self.full_at is None

    @property
    def user_id(self) -> str:
        return self.proof.checkpoint.user_id

    def differing(self, difference: Difference | None) -> "ProofResult":
        if difference is None:
            return self
        proof = msgspec.structs.replace(self.proof, difference=difference)
        return msgspec.structs.replace(self, proof=proof)


def findings_of(results: Sequence[ProofResult], next_after: str | None = None) -> Findings:
    proofs = [result.proof for result in results]
    differences = [proof.difference for proof in proofs if proof.difference is not None]
    return Findings(
        accounts=len(results),
        unchanged=sum(result.is_unchanged for result in results),
        entries=sum(proof.checkpoint.seq for proof in proofs),
        entries_nusd=sum(proof.checkpoint.nusd for proof in proofs),
        drifting=len(differences),
        first_difference=differences[0] if differences else None,
        next_after=next_after,
    )


def part_of(
    results: Sequence[ProofResult], next_after: str | None, cut_result: ProofResult | None
) -> RoundPart:
    """`cut_result` is that of the account after those, whose proof was cut."""
    sound = [result for result in results if result.proof.difference is None]
    return RoundPart(
        findings=findings_of(results, next_after),
        seals=[_seal(result) for result in sound if not result.is_unchanged],
        under_way=None if cut_result is None else _under_way(cut_result),
    )


def _under_way(result: ProofResult) -> UnderWay | None:
    if result.full_at is None:
        return None
    return UnderWay(checkpoint=result.proof.checkpoint, began_at=result.full_at)


def _seal(result: ProofResult) -> Seal:
    proof = result.proof
    return Seal(checkpoint=proof.checkpoint, document=proof.document, full_at=result.full_at)
