"""Holds, limits and the copy of spend in Redis: what admission decides on.

All keys of an account share one hash tag, so that one script sees them all on a Cluster too, and
Redis' own time decides. `lua/common.lua` describes the keys.
"""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

from libs.common.schemas.holds import (
    NO_LIMIT,
    Admission,
    Admitted,
    Finished,
    Limited,
    LimitKind,
    LimitScope,
    OpenHold,
    OverBudget,
    Spent,
    Standing,
    Unseeded,
    Window,
    scope_name,
)
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.pipelining import CommandSink, Pipelined, Transaction
from libs.common.storage.redis.scripts import ALLOW_OOM, Scripts, encode_ask, root_of

# Long enough for a period that is still asked about; a key that is gone is seeded anew.
_SPENT_TTL_S = 40 * 24 * 3600
# A finished call's hold lives until the ledger has posted it, however long that takes.
_SETTLING_LEASE_MS = 7 * 24 * 3600 * 1000
# Accounts that may have holds, by the time of the last announcement; the sweep visits them.
_ACCOUNTS = "gateway:noted-accounts"
_NOTE = ALLOW_OOM + "redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"
_FORGET = """
local noted = redis.call('ZSCORE', KEYS[1], ARGV[1])
if noted and redis.call('TIME')[1] - noted >= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
"""
# Gateways announce an account with open calls several times within this.
_VISITED_S = 600
_SCRIPTS = ("admit", "finish", "settle", "renew", "retake", "sweep")
_REFUSALS: tuple[LimitKind, ...] = ("requests", "tokens", "parallel")


class HoldStore:
    """Every verb is one script, and one round trip, over one account's keys."""

    def __init__(
        self, redis: Redis, pipelined: Pipelined | None = None, *, visited_s: int = _VISITED_S
    ) -> None:
        """`pipelined` for a process that has several stores and one connection for all."""
        self._redis = redis
        self._visited_s = visited_s
        self._scripts = Scripts(pipelined or Pipelined(redis), *_SCRIPTS)

    async def load_scripts(self) -> None:
        """For transactions, which cannot load a script that the server has forgotten."""
        await self._scripts.load()

    async def admit(
        self,
        user_id: str,
        call_id: str,
        *,
        hold_nusd: int,
        tokens: int,
        lease_s: int,
        scopes: Sequence[LimitScope],
        event: bytes,
    ) -> Admission:
        """Limits and budgets checked, expired holds out, the hold taken.

        `event` is what the ledger is to post should nobody ever hear of the call again.
        """
        key_id = next((scope.key_id for scope in scopes if scope.key_id is not None), None)
        ask = {
            "call": call_id,
            "hold": hold_nusd,
            "tokens": tokens,
            "lease_ms": lease_s * 1000,
            "key": "" if key_id is None else key_id,
            "scopes": [
                {
                    "scope": scope.scope,
                    "requests": scope.requests,
                    "tokens": scope.tokens,
                    "parallel": scope.parallel,
                    "budgets": scope.budgets,
                }
                for scope in scopes
            ],
        }
        answer = await self._scripts.run("admit", user_id, ask, event)
        return _admission(answer, scopes)

    def transact(self, transaction: Transaction) -> Awaitable[object]:
        """Runs what the methods below were added to. Raises NoScriptError as they do."""
        return self._scripts.transact(transaction)

    def finish(self, commands: CommandSink, finished: Finished) -> None:
        """Adds to the commands: the call is over, and its hold becomes its cost."""
        ask = {
            "call": finished.call_id,
            "amount": finished.cost_nusd,
            "tokens": NO_LIMIT if finished.tokens is None else finished.tokens,
            "key": "" if finished.key_id is None else finished.key_id,
            "lease_ms": _SETTLING_LEASE_MS,
        }
        sha, root = self._scripts.sha("finish"), root_of(finished.user_id)
        commands.execute_command("EVALSHA", sha, 1, root, encode_ask(ask))

    async def settle(self, user_id: str, call_ids: Sequence[str], spent: Iterable[Spent]) -> None:
        """Releases the holds of posted calls; spend as MongoDB committed it."""
        rows = [
            {
                "scope": scope_name(row.key_id),
                "period": row.period,
                "nusd": row.nusd,
                "revision": row.revision,
                "ttl_s": _SPENT_TTL_S,
            }
            for row in spent
        ]
        await self._scripts.run("settle", user_id, {"calls": call_ids, "spent": rows})

    async def seed(self, user_id: str, spent: Iterable[Spent]) -> None:
        """Tells Redis what MongoDB says was spent."""
        await self.settle(user_id, (), spent)

    async def renew(self, user_id: str, call_ids: Sequence[str], *, lease_s: int) -> list[str]:
        """Prolongs the leases of calls that are still under way; those that hold nothing here."""
        ask = {"calls": call_ids, "lease_ms": lease_s * 1000}
        return [call.decode() for call in await self._scripts.run("renew", user_id, ask)]

    async def retake(self, hold: OpenHold) -> None:
        """Takes the hold of a call that is under way, unless Redis knows of it already."""
        ask = {
            "call": hold.call_id,
            "amount": hold.hold_nusd,
            "key": "" if hold.key_id is None else hold.key_id,
            "lease_ms": hold.lease_s * 1000,
            "scopes": hold.parallel_scopes,
        }
        await self._scripts.run("retake", hold.user_id, ask, hold.event)

    async def announce_account(self, user_id: str) -> None:
        """For some time from now on the sweep visits the account."""
        await self._scripts.command("EVAL", _NOTE, 1, _ACCOUNTS, user_id)

    async def accounts(self) -> list[str]:
        """Accounts that may have holds."""
        members = await self._scripts.command("ZRANGE", _ACCOUNTS, 0, -1)
        return sorted(member.decode() for member in members)

    async def sweep(self, user_id: str, *, limit: int) -> list[bytes]:
        """Ends leases that are over; events of calls that nobody finished.

        An account that holds nothing is visited for a while yet: gateways do not say with each
        call that they have one.
        """
        events, left = await self._scripts.run("sweep", user_id, {"limit": limit})
        if left == 0:
            await self._scripts.command("EVAL", _FORGET, 1, _ACCOUNTS, user_id, self._visited_s)
        return list(events)

    async def held(self, user_id: str, key_id: str | None = None) -> int:
        """Nano-USD held by calls that are under way or not posted yet."""
        held = await self._redis.get(f"{root_of(user_id)}:held{scope_name(key_id)}")
        return 0 if held is None else int(held)

    async def held_of_many(self, owners: Sequence[tuple[str, str | None]]) -> list[int]:
        """As `held`, in the order of the owners: pairs of user_id and key_id."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id, key_id in owners:
                pipeline.get(f"{root_of(user_id)}:held{scope_name(key_id)}")
            return [0 if held is None else int(held) for held in await pipeline.execute()]


def _admission(answer: Sequence[Any], scopes: Sequence[LimitScope]) -> Admission:
    match answer:
        case [0, now_ms, windows, standings]:
            return Admitted(
                now_ms,
                tuple([Window(*window) for window in windows]),
                tuple([Standing(*standing) for standing in standings]),
            )
        case [1, _, n, m, spent, held]:
            return OverBudget(scopes[n - 1], scopes[n - 1].budgets[m - 1], spent, held)
        case [2, _, n, m]:
            return Unseeded(scopes[n - 1], scopes[n - 1].budgets[m - 1].period)
        case [3, _, n, kind, used, wait_ms]:
            return Limited(scopes[n - 1], _REFUSALS[kind - 1], used, wait_ms)
    raise AssertionError(f"admit.lua answered {answer!r}")
