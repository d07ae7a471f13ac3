"""The chain of the audit log: each record holds the previous record's hash.

Invariants: numbers have no gap; a record that was changed, removed or put in does not fit any more
to those after it. A head that was noted earlier shows whether the chain's end was cut off.
"""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from libs.common.schemas.audit import AuditHead, AuditRecord

_LAST_MEMBER = b',"hash":"'
_UNREADABLE = "was changed: it is no longer readable"
EMPTY = AuditHead(seq=0, hash="")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The first record that does not fit."""

    seq: int
    problem: str


def linked(record: AuditRecord, head: AuditHead) -> AuditRecord:
    """The record as the next one after the head."""
    placed = msgspec.structs.replace(record, seq=head.seq + 1, previous=head.hash)
    return msgspec.structs.replace(placed, hash=hash_of(placed))


def hash_of(record: AuditRecord) -> str:
    """SHA-256 of the record's JSON without its own hash."""
    encoded = msgspec.json.encode(record)
    return sha256(encoded[: encoded.rindex(_LAST_MEMBER)] + b"}").hexdigest()


def head_of(record: AuditRecord) -> AuditHead:
    return AuditHead(seq=record.seq, hash=record.hash)


def checked(
    records: Iterable[AuditRecord | None], head: AuditHead
) -> tuple[AuditHead, Fault | None]:
    """Follows the records from the head on, to their end or the first fault.

    None stands for a record that is no longer readable.
    """
    for record in records:
        if record is None:
            return head, Fault(seq=head.seq + 1, problem=_UNREADABLE)
        problem = _problem(record, head)
        if problem is not None:
            return head, Fault(seq=head.seq + 1, problem=problem)
        head = head_of(record)
    return head, None


def _problem(record: AuditRecord, head: AuditHead) -> str | None:
    if record.seq != head.seq + 1:
        return f"is missing: the next record is number {record.seq}"
    if record.previous != head.hash:
        return "does not follow the record before it: one of the two was changed or replaced"
    if record.hash != hash_of(record):
        return "was changed: its hash no longer matches"
    return None
