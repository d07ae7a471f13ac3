"""People: who may call the admin API, and what for. Programs of operators count as people."""

from datetime import datetime
from typing import Literal

import msgspec

Role = Literal["viewer", "operator", "billing", "owner"]
PersonStatus = Literal["active", "revoked"]

# Whoever has a role may do what these roles may do.
GRANTS: dict[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "billing": frozenset({"viewer", "billing"}),
    "owner": frozenset({"viewer", "operator", "billing", "owner"}),
}


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an admin key of their own, whose secret itself is never stored.

    `accounts` are those that they may see and change; None means all, and what is global.
    `created_by` and `updated_by` are ids of actors.
    """

    person_id: str
    name: str
    role: Role
    accounts: tuple[str, ...] | None = None
    prefix: str
    secret_hash: str
    expires_at: datetime | None = None
    status: PersonStatus = "active"
    revision: str
    created_by: str
    updated_by: str
    created_at: datetime
    updated_at: datetime
