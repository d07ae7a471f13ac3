"""Reads the limits and budgets of accounts and keys; writes nothing."""

from collections.abc import Sequence

import msgspec

from libs.common.schemas.holds import LimitScope, Unseeded
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.scripts import Scripts
from libs.common.storage.redis.shards import Shards


class ScopeStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The present use of an account or key; `spent_nusd` per budget, in the scope's order."""

    requests: int
    requests_reset_ms: int
    tokens: int
    parallel: int
    held_nusd: int
    spent_nusd: tuple[int, ...]


class StandingStore:
    """Reads the keys that `HoldStore` writes."""

    def __init__(self, pipelined: Pipelined, shards: Shards) -> None:
        self._scripts = Scripts(pipelined, shards, "look")

    async def look(
        self, user_id: str, scopes: Sequence[LimitScope]
    ) -> tuple[ScopeStanding, ...] | Unseeded:
        """In the scopes' order; or the first period whose spend Redis lacks."""
        queries = [
            {"scope": scope.scope, "periods": [budget.period for budget in scope.budgets]}
            for scope in scopes
        ]
        _now_ms, rows = await self._scripts.run("look", user_id, {"scopes": queries})
        standings = []
        for scope, (requests, reset_ms, tokens, parallel, held, spent) in zip(
            scopes, rows, strict=True
        ):
            # Redis cuts a Lua list at a nil, so an unknown figure is false in Lua: None here.
            for budget, nusd in zip(scope.budgets, spent, strict=True):
                if nusd is None:
                    return Unseeded(scope, budget.period)
            standings.append(
                ScopeStanding(
                    requests=requests,
                    requests_reset_ms=reset_ms,
                    tokens=tokens,
                    parallel=parallel,
                    held_nusd=held,
                    spent_nusd=tuple(spent),
                )
            )
        return tuple(standings)
