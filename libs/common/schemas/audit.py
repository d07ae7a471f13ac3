"""The audit log: what was done by the admin API, by whom. Records are only ever added."""

from datetime import datetime
from typing import Literal

import msgspec

from libs.common.schemas.person import Role

# An intent is recorded before a write, its outcome after it. A refusal has no intent.
Phase = Literal["intent", "outcome", "refusal"]


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A link of the chain.

    `seq` counts from 1. `intent` is the `seq` of an outcome's intent. `asked` (the body of the
    request), `before` and `after` are JSON as text, without secrets. `status` and `code` are those
    of the answer. `previous` is the hash of the record before, and `hash` that of this record's
    JSON without its last member.
    """

    seq: int
    phase: Phase
    intent: int | None
    at: datetime
    actor: str
    actor_name: str
    role: Role
    action: str
    kind: str
    object: str | None
    address: str
    request_id: str
    status: int | None = None
    code: str | None = None
    asked: str | None = None
    before: str | None = None
    after: str | None = None
    previous: str = ""
    hash: str = ""


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """The last record; whoever keeps it can check later that the records up to it are unchanged."""

    seq: int
    hash: str
