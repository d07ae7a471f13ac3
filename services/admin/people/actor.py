"""The actor of a request, whose role and accounts bound what they reach.

The middleware puts the actor into `request.scope["actor"]` of every request under `/admin`.
"""

from typing import Any

import msgspec
from starlette.requests import Request

from libs.common.errors import Forbidden
from libs.common.schemas.person import GRANTS, Role


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the name in the audit log. `accounts` None means all accounts, and what is global."""

    id: str
    name: str
    role: Role
    accounts: tuple[str, ...] | None = None

    def has_role(self, needed: Role) -> bool:
        return needed in GRANTS[self.role]

    def reaches(self, user_id: str) -> bool:
        """Whether the account is in the actor's scope."""
        return self.accounts is None or user_id in self.accounts


# The holder of ADMIN_API_KEY, whom no other actor can change.
ROOT = Actor(id="root", name="root", role="owner")


def actor_of(request: Request[Any]) -> Actor:
    actor: Actor = request.scope["actor"]
    return actor


def check_role(actor: Actor, needed: Role) -> None:
    """Raises Forbidden, which names the role."""
    if not actor.has_role(needed):
        raise Forbidden(f"This needs the role {needed}; you are {actor.role}. Ask an owner for it.")


def check_global(actor: Actor) -> None:
    """Raises Forbidden for an actor with accounts in scope: others' accounts depend on this too."""
    if actor.accounts is not None:
        raise Forbidden(
            "This reaches beyond single accounts, and your scope is limited to some of them."
        )
