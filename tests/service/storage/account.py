"""An account's calls as the admission sees them, and a way to let time pass for them."""

from collections.abc import Sequence

from libs.common.schemas.holds import (
    Admission,
    Admitted,
    Finished,
    LimitScope,
    PeriodLimit,
    Spent,
    scope_name,
)
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.shards import shards_of

USER = "acme"
_TIMED = (":leases", ":open", ":window")


class AccountCalls:
    """Verbs with an account's defaults, so that a test names only what it is about."""

    def __init__(self, redis: Redis, *, visited_s: int = 600) -> None:
        self.redis = redis
        shards = shards_of(redis)
        self.root, self.shard = shards.root_of(USER), shards.of(USER)
        self.holds = HoldStore(redis, visited_s=visited_s)

    async def admit(
        self,
        call_id: str,
        hold_nusd: int,
        *budgets: PeriodLimit,
        tokens: int = 0,
        lease_s: int = 60,
        scopes: Sequence[LimitScope] = (),
    ) -> Admission:
        """With the budgets on the account, or with the scopes as they are."""
        return await self.holds.admit(
            USER,
            call_id,
            hold_nusd=hold_nusd,
            tokens=tokens,
            lease_s=lease_s,
            scopes=scopes or [LimitScope(budgets=budgets)],
            event=f"event of {call_id}".encode(),
        )

    async def admitted(self, call_id: str, hold_nusd: int, *budgets: PeriodLimit) -> bool:
        return isinstance(await self.admit(call_id, hold_nusd, *budgets), Admitted)

    async def finish(
        self, call_id: str, cost_nusd: int, *, key_id: str | None = None, tokens: int | None = None
    ) -> None:
        async with self.redis.pipeline(transaction=True) as pipeline:
            finished = Finished(
                user_id=USER, call_id=call_id, key_id=key_id, cost_nusd=cost_nusd, tokens=tokens
            )
            self.holds.finish(pipeline, finished)
            await pipeline.execute()

    async def settle(self, call_ids: Sequence[str], *spent: Spent) -> None:
        await self.holds.settle(USER, call_ids, spent)

    async def seed(self, **nusd_by_period: int) -> None:
        await self.holds.seed(
            USER, [Spent(period=period, nusd=nusd) for period, nusd in nusd_by_period.items()]
        )

    async def held(self, key_id: str | None = None) -> int:
        return await self.holds.held(USER, key_id)

    async def sweep(self) -> list[str]:
        """Ids of the calls whose events were found, sorted."""
        events = await self.holds.sweep(USER, limit=1_000)
        return sorted(event.decode().removeprefix("event of ") for event in events)

    async def accounts_to_sweep(self) -> list[str]:
        """The accounts that the sweep visits."""
        return [user async for page in self.holds.accounts(self.shard) for user, _ in page]

    async def forget_spend(self, key_id: str | None, period: str) -> None:
        """As when the copy of spend was evicted."""
        await self.redis.delete(f"{self.root}:spent{scope_name(key_id)}:{period}")

    async def flush(self) -> None:
        await self.redis.flushall()

    async def keys(self, pattern: str = "*") -> list[str]:
        """What Redis keeps of the account, by the names that `lua/common.lua` explains."""
        found = await self.redis.keys(f"{self.root}{pattern}".replace("[", r"\["))
        return sorted(key.decode().removeprefix(self.root) for key in found)

    async def later(self, ms: int, call_id: str | None = None) -> None:
        """That much time passes for every call, or for one: all that is timed becomes older."""
        for name in await self.keys():
            if not name.startswith(_TIMED):
                continue
            for member, score in await self.redis.zrange(self.root + name, 0, -1, withscores=True):
                if call_id is None or member.decode() == call_id:
                    await self.redis.zadd(self.root + name, {member: score - ms})

    async def lease_left_ms(self, call_id: str) -> float:
        """How long the call's hold still lives."""
        score: float | None = await self.redis.zscore(f"{self.root}:leases", call_id)
        assert score is not None
        seconds, micros = await self.redis.time()
        return score - int(seconds) * 1000 - int(micros) / 1000
