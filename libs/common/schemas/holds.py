"""Holds on budgets and limits, and the answers of admission.

Amounts are integers of nano-USD below 2^53, which Redis' scripts compute exactly.
"""

from typing import Literal

import msgspec

NO_LIMIT = -1

LimitKind = Literal["requests", "tokens", "parallel"]


class PeriodLimit(msgspec.Struct, frozen=True):
    """One budget as the script sees it: the key of its current period and its limit."""

    period: str
    limit: int


class LimitScope(msgspec.Struct, frozen=True, kw_only=True):
    """What an account (key_id None), or one of its API keys, is limited to; -1 means unlimited."""

    key_id: str | None = None
    requests: int = NO_LIMIT
    tokens: int = NO_LIMIT
    parallel: int = NO_LIMIT
    budgets: tuple[PeriodLimit, ...] = ()

    @property
    def scope(self) -> str:
        """As the scripts name it."""
        return scope_name(self.key_id)


class Window(msgspec.Struct, frozen=True):
    """What is left of a scope's minute, and milliseconds until its oldest call leaves it."""

    requests_left: int
    requests_reset_ms: int
    tokens_left: int
    tokens_reset_ms: int


class Standing(msgspec.Struct, frozen=True):
    """A budget's amounts in nano-USD, this call's hold included."""

    spent_nusd: int
    held_nusd: int


class Admitted(msgspec.Struct, frozen=True):
    """A window per scope, and a standing per budget of each scope, in order."""

    now_ms: int
    windows: tuple[Window, ...]
    standings: tuple[Standing, ...]


class OverBudget(msgspec.Struct, frozen=True):
    """Which budget has no room left for the hold, and how it stands."""

    scope: LimitScope
    budget: PeriodLimit
    spent_nusd: int
    held_nusd: int


class Limited(msgspec.Struct, frozen=True):
    """Which limit is reached, how much of it is used, and how long until it has room again."""

    scope: LimitScope
    kind: LimitKind
    used: int
    wait_ms: int


class Unseeded(msgspec.Struct, frozen=True):
    """Redis does not know what was spent in a period of that scope."""

    scope: LimitScope
    period: str


Admission = Admitted | OverBudget | Limited | Unseeded


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-USD that MongoDB says were spent in a period; of two, the newer revision is right."""

    key_id: str | None = None
    period: str
    nusd: int
    revision: int = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is over: what it cost and, where that is known, all tokens that it used."""

    user_id: str
    call_id: str
    key_id: str | None
    cost_nusd: int
    tokens: int | None


class OpenHold(msgspec.Struct, frozen=True, kw_only=True):
    """The hold of a call under way, as Redis has it, with the call's event should nobody end it."""

    user_id: str
    call_id: str
    hold_nusd: int
    key_id: str | None
    lease_s: int
    parallel_scopes: tuple[str, ...]
    event: bytes


def scope_name(key_id: str | None) -> str:
    """As Redis' scripts name scopes."""
    return "" if key_id is None else f":key:{key_id}"
