"""Holds, limits and the copy of spend in Redis, by which admission decides.

All keys of an account are in one shard, so that one script can read them on a cluster too. The
clock is Redis' own. `lua/common.lua` describes the keys.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from libs.common.domain.periods import longest_days
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
from libs.common.storage.redis.answers import answers_of
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.pipelining import CommandSink, Pipelined, Transaction
from libs.common.storage.redis.scripts import ALLOW_OOM, Scripts, encode_ask
from libs.common.storage.redis.shards import shards_of

_DAY_S = 24 * 3600
# A copy of spend that a budget has asked for outlives its period by two days; that of `total` is
# seeded again after these days.
_SPARE_DAYS, _TOTAL_DAYS = 2, 40
# Of most copies that a settling brings, no budget asks for. They stay for longer than a gateway may
# take between its look into MongoDB and its seed, which must not replace what was posted meanwhile.
_SETTLED_S = 3600
# A finished call keeps its hold until the ledger has posted it.
_SETTLING_LEASE_MS = 7 * 24 * 3600 * 1000
# Accounts of a shard that may have holds, by the time of the last announcement. The sweep visits
# them.
_ACCOUNTS = "gateway:noted-accounts"
_NOTE = ALLOW_OOM + "redis.call('ZADD', KEYS[1], redis.call('TIME')[1], ARGV[1])"
# Of these, about how many are read at a time, and how many one command asks about.
_NOTED_PAGE, _ASKED_AT_ONCE = 1_000, 10
# Gateways announce an account with open calls several times within this time.
_VISITED_S = 600
_SCRIPTS = ("admit", "finish", "settle", "renew", "retake", "sweep")
# The ids of an account's posted calls, and what was spent.
Settlement = tuple[Sequence[str], Iterable[Spent]]
_REFUSALS: tuple[LimitKind, ...] = ("requests", "tokens", "parallel")


class HoldStore:
    """Each method is one script over one account's keys, and one round trip."""

    def __init__(
        self,
        redis: Redis,
        pipelined: Pipelined | None = None,
        *,
        visited_s: int = _VISITED_S,
        wait_replicas: int = 0,
    ) -> None:
        """`pipelined`: the connection that the process's stores share. Transactions that wait for
        replicas have one of their own, so that nothing else waits.
        """
        self._redis = redis
        self._visited_s = visited_s
        pipelined = pipelined or Pipelined(redis)
        self.shards = shards_of(redis)
        self._scripts = Scripts(pipelined, self.shards, *_SCRIPTS)
        self._commits = (
            Pipelined(redis, wait_replicas=wait_replicas) if wait_replicas else pipelined
        )

    async def load_scripts(self) -> None:
        """Loads the scripts: a transaction cannot load one that the server lacks."""
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
        """Removes expired holds, checks limits and budgets, and takes the hold.

        A key's scope is the last. The ledger posts `event` if the hold's lease expires before the
        call ends.
        """
        key_id = scopes[-1].key_id
        ask = {
            "call": call_id,
            "hold": hold_nusd,
            "tokens": tokens,
            "lease_ms": lease_s * 1000,
            "key": "" if key_id is None else key_id,
            "scopes": scopes,
        }
        answer = await self._scripts.run("admit", user_id, ask, event)
        return _admission(answer, scopes)

    def transact(self, transaction: Transaction) -> Awaitable[object]:
        """Runs the transaction. Raises NoScriptError if Redis lacks a script, after which the
        other commands still took effect, and NotReplicated.
        """
        return self._commits.transact(transaction)

    def finish(self, commands: CommandSink, finished: Finished) -> None:
        """Adds to the commands: ends the call, and resizes its hold to its cost."""
        ask = {
            "call": finished.call_id,
            "amount": finished.cost_nusd,
            "tokens": NO_LIMIT if finished.tokens is None else finished.tokens,
            "key": "" if finished.key_id is None else finished.key_id,
            "lease_ms": _SETTLING_LEASE_MS,
        }
        sha, root = self._scripts.sha("finish"), self.shards.root_of(finished.user_id)
        commands.execute_command("EVALSHA", sha, 1, root, encode_ask(ask))

    async def settle(self, user_id: str, call_ids: Sequence[str], spent: Iterable[Spent]) -> None:
        """Releases the holds of posted calls, and sets the copy of spend to MongoDB's figures."""
        await self.settle_all({user_id: (call_ids, spent)})

    async def settle_all(self, accounts: Mapping[str, Settlement]) -> None:
        """As `settle`, for accounts of one shard by user_id, in their order until one fails."""
        await self._settle(accounts, lambda _: _SETTLED_S)

    async def seed(self, user_id: str, spent: Iterable[Spent]) -> None:
        """Sets the copy of spend to MongoDB's figures, and keeps it for the budgets' periods."""
        await self._settle({user_id: ((), spent)}, _kept_s)

    async def _settle(
        self, accounts: Mapping[str, Settlement], ttl_s: Callable[[str], int]
    ) -> None:
        users = list(accounts)
        ask = {
            "accounts": [
                {"calls": call_ids, "spent": [_row_of(row, ttl_s(row.period)) for row in spent]}
                for call_ids, spent in accounts.values()
            ]
        }
        other_keys = tuple(map(self.shards.root_of, users[1:]))
        await self._scripts.run("settle", users[0], ask, other_keys=other_keys)

    async def renew(self, user_id: str, call_ids: Sequence[str], *, lease_s: int) -> list[str]:
        """Renews the leases of open calls. Returns the calls that have no hold here."""
        ask = {"calls": call_ids, "lease_ms": lease_s * 1000}
        return [call.decode() for call in await self._scripts.run("renew", user_id, ask)]

    async def retake(self, hold: OpenHold) -> None:
        """Takes the hold of an open call, unless Redis has it already."""
        ask = {
            "call": hold.call_id,
            "amount": hold.hold_nusd,
            "key": "" if hold.key_id is None else hold.key_id,
            "lease_ms": hold.lease_s * 1000,
            "scopes": hold.parallel_scopes,
        }
        await self._scripts.run("retake", hold.user_id, ask, hold.event)

    async def announce_account(self, user_id: str) -> None:
        """Makes the sweep visit the account for `_VISITED_S`."""
        await self._scripts.command("EVAL", _NOTE, 1, self._accounts_beside(user_id), user_id)

    async def accounts(self, shard: int) -> AsyncIterator[list[tuple[str, float]]]:
        """Accounts of the shard that may have holds, and when they were announced last; some at a
        time, and perhaps one twice.

        Leaves out none that is noted all the while, whatever is forgotten meanwhile.
        """
        key, cursor = self.shards.name(_ACCOUNTS, shard), b"0"
        while True:
            cursor, page = await self._scripts.command("ZSCAN", key, cursor, "COUNT", _NOTED_PAGE)
            yield [(name.decode(), float(at)) for name, at in zip(*[iter(page)] * 2, strict=True)]
            if cursor == b"0":
                return

    async def accounts_to_sweep(self, shard: int) -> AsyncIterator[list[str]]:
        """Of those, all that hold something or may be forgotten, and a few others.

        Nearly all calls of noted accounts have been posted: one command tells that of ten accounts.
        """
        async for page in self.accounts(shard):
            groups = [page[n : n + _ASKED_AT_ONCE] for n in range(0, len(page), _ASKED_AT_ONCE)]
            flags = await asyncio.gather(*map(self._any_holds, groups))
            # By this machine's clock; the sweep itself goes by Redis'.
            last_s = time.time() - self._visited_s
            yield [
                user_id
                for group, any_holds in zip(groups, flags, strict=True)
                for user_id, announced_s in group
                if any_holds or announced_s <= last_s
            ]

    async def _any_holds(self, accounts: Iterable[tuple[str, float]]) -> bool:
        roots = [self.shards.root_of(user_id) for user_id, _ in accounts]
        keys = [f"{root}:{key}" for root in roots for key in ("leases", "expired")]
        return bool(await self._scripts.command("EXISTS", *keys))

    async def probe(self, shard: int) -> None:
        """Raises RedisError or OSError if the shard's server does not answer."""
        await self._scripts.command("EXISTS", self.shards.name(_ACCOUNTS, shard))

    async def sweep(self, user_id: str, *, limit: int) -> list[bytes]:
        """Removes holds whose lease has expired. Returns the events of their unfinished calls.

        An account without holds is still visited for `_VISITED_S`, because gateways do not announce
        it with each call.
        """
        ask = {"limit": limit, "account": user_id, "visited_s": self._visited_s}
        accounts_key = self._accounts_beside(user_id)
        return list(await self._scripts.run("sweep", user_id, ask, other_keys=(accounts_key,)))

    async def held(self, user_id: str, key_id: str | None = None) -> int:
        """Nano-USD held by calls that are open or not posted yet."""
        held = await self._redis.get(self._held_key(user_id, key_id))
        return 0 if held is None else int(held)

    async def held_of_many(self, owners: Sequence[tuple[str, str | None]]) -> list[int | None]:
        """As `held`, for pairs of user_id and key_id, in their order.

        None for those whose shard does not answer, but for the only one that is asked: then it
        raises RedisError or OSError.
        """
        by_shard: defaultdict[int, list[int]] = defaultdict(list)
        for place, (user_id, _) in enumerate(owners):
            by_shard[self.shards.of(user_id)].append(place)
        answers = await answers_of(
            self._held_of([owners[place] for place in places]) for places in by_shard.values()
        )
        held: list[int | None] = [None] * len(owners)
        for places, answer in zip(by_shard.values(), answers, strict=True):
            if not isinstance(answer, RedisError | OSError):
                for place, nusd in zip(places, answer, strict=True):
                    held[place] = nusd
            elif len(by_shard) == 1:
                raise answer
        return held

    async def _held_of(self, owners: Sequence[tuple[str, str | None]]) -> list[int]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id, key_id in owners:
                pipeline.get(self._held_key(user_id, key_id))
            return [0 if held is None else int(held) for held in await pipeline.execute()]

    def _held_key(self, user_id: str, key_id: str | None) -> str:
        return f"{self.shards.root_of(user_id)}:held{scope_name(key_id)}"

    def _accounts_beside(self, user_id: str) -> str:
        return self.shards.name(_ACCOUNTS, self.shards.of(user_id))


def _row_of(spent: Spent, ttl_s: int) -> dict[str, str | int]:
    return {
        "scope": scope_name(spent.key_id),
        "period": spent.period,
        "nusd": spent.nusd,
        "revision": spent.revision,
        "ttl_s": ttl_s,
    }


def _kept_s(period: str) -> int:
    days = longest_days(period)
    return (_TOTAL_DAYS if days is None else days + _SPARE_DAYS) * _DAY_S


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
