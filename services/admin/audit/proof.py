"""`/admin/audit/verify`: proves that no record was changed or removed."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from libs.common.domain.audit_chain import EMPTY, Fault, checked, head_of
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.audit import AuditHead
from services.admin.endpoints import Answer
from services.admin.pages import ListCursor, cursor_of, place_by, sequence_of
from services.admin.state import State

_KIND = "audit_proof"
# In memory at a time.
_BATCH = 200
_MAX_BATCHES = 50
_HASH = r"^[0-9a-f]{64}$"


class AuditProofQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`seq` and `hash` are of a head that an earlier answer had: it must still be in the chain."""

    cursor: ListCursor | UnsetType = UNSET
    seq: Annotated[int, Meta(ge=1, le=2**53)] | UnsetType = UNSET
    hash: Annotated[str, Meta(pattern=_HASH)] | UnsetType = UNSET


class AuditProof(msgspec.Struct, frozen=True, kw_only=True):
    """`records` fit together up to `head`. With a `next_cursor` there are more to be checked."""

    ok: bool
    records: int
    head: AuditHead
    fault: Fault | None
    next_cursor: str | None


async def verify_audit(request: Request[State], query: AuditProofQuery) -> Answer[AuditProof]:
    """Checks 10,000 records at most; `next_cursor` goes on."""
    log = request.state["audit_log"]
    if (query.seq is UNSET) is not (query.hash is UNSET):
        raise ValidationFailed([FieldError("hash", "needs the other: give a head's seq and hash")])
    start = place_by(_KIND, query.cursor, sequence_of) or 0
    # Read before the records: those that come meanwhile are after it.
    heads = [head for head in (await log.noted_head(), _given_head(query)) if head is not None]
    head = EMPTY
    if start:
        before = (await log.get([start])).get(start)
        if before is None:
            return _proof(EMPTY, Fault(seq=start, problem="is missing"), start=start, more=False)
        head = head_of(before)
    for _ in range(_MAX_BATCHES):
        begins = head
        records = await log.links(head.seq, limit=_BATCH)
        head, fault = checked(records, head)
        more = len(records) == _BATCH
        if fault is None:
            hashes = {record.seq: record.hash for record in records if record is not None}
            fault = _missing(heads, hashes, begins, head, more=more)
        if fault is not None or not more:
            return _proof(head, fault, start=start, more=False)
    return _proof(head, None, start=start, more=True)


def _missing(
    heads: Sequence[AuditHead],
    hashes: dict[int, str],
    begins: AuditHead,
    head: AuditHead,
    *,
    more: bool,
) -> Fault | None:
    """Whether a head that was noted is not in this part of the chain any more."""
    for known in heads:
        if known.seq <= begins.seq or (more and known.seq > head.seq):
            continue
        if known.seq > head.seq:
            return Fault(seq=head.seq + 1, problem=f"is missing: there were {known.seq} records")
        if hashes[known.seq] != known.hash:
            return Fault(seq=known.seq, problem="is not the record whose hash was noted")
    return None


def _given_head(query: AuditProofQuery) -> AuditHead | None:
    if query.seq is UNSET or query.hash is UNSET:
        return None
    return AuditHead(seq=query.seq, hash=query.hash)


def _proof(head: AuditHead, fault: Fault | None, *, start: int, more: bool) -> Answer[AuditProof]:
    return Answer(
        AuditProof(
            ok=fault is None,
            records=max(0, head.seq - start),
            head=head,
            fault=fault,
            next_cursor=cursor_of(_KIND, str(head.seq)) if more else None,
        )
    )
