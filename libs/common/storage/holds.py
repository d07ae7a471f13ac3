"""Holds and the copy of spend in Redis: what admission decides on.

All keys of an account share one hash tag, so that one script sees them all on a Cluster too.
Amounts are integers of nano-USD below 2^53, which Redis' scripts compute exactly.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec
from redis.asyncio.client import Pipeline

from libs.common.storage.redis import Redis

# Long enough for a period that is still asked about; a key that is gone is seeded anew.
_SPENT_TTL_S = 40 * 24 * 3600
# A finished call's hold lives until the ledger has posted it, however long that takes.
SETTLING_LEASE_S = 7 * 24 * 3600


class PeriodLimit(msgspec.Struct, frozen=True):
    """One budget as the script sees it: the key of its current period and its limit."""

    period: str
    limit_nusd: int


class Admitted(msgspec.Struct, frozen=True):
    """The call's hold is taken; `held_nusd` is all that the account now holds."""

    held_nusd: int


class OverBudget(msgspec.Struct, frozen=True):
    """Which budget has no room left for the hold, and how it stands."""

    budget: PeriodLimit
    spent_nusd: int
    held_nusd: int


class Unseeded(msgspec.Struct, frozen=True):
    """Redis does not know what was spent in the period."""

    period: str


Admission = Admitted | OverBudget | Unseeded


def _script(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text()


class HoldStore:
    """The scripts over an account's `held`, `leases`, `amounts` and `spent` keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._admit = redis.register_script(_script("admit"))
        self._resize = redis.register_script(_script("resize"))
        self._settle = redis.register_script(_script("settle"))

    async def admit(
        self,
        user_id: str,
        call_id: str,
        *,
        hold_nusd: int,
        lease_s: int,
        limits: Sequence[PeriodLimit],
    ) -> Admission:
        """One round trip: expired holds out, budgets checked, hold taken."""
        answer = await self._admit(
            keys=_hold_keys(user_id) + [_spent_key(user_id, limit.period) for limit in limits],
            args=[call_id, hold_nusd, lease_s * 1000, *(limit.limit_nusd for limit in limits)],
        )
        match answer:
            case [0, held]:
                return Admitted(held)
            case [1, n, spent, held]:
                return OverBudget(limits[n - 1], spent, held)
            case [2, n]:
                return Unseeded(limits[n - 1].period)
        raise AssertionError(f"admit.lua answered {answer!r}")

    async def renew(self, calls: Sequence[tuple[str, str]], *, now_ms: int, lease_s: int) -> None:
        """Prolongs the leases of calls (user_id, call_id) that are still under way."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id, call_id in calls:
                leases = _hold_keys(user_id)[1]
                pipeline.zadd(leases, {call_id: now_ms + lease_s * 1000}, xx=True, gt=True)
            await pipeline.execute()

    async def load_scripts(self) -> None:
        """Pipelines cannot load a script that the server lacks, so it is done before them."""
        for script in (self._admit, self._resize, self._settle):
            await self._redis.script_load(script.script)

    def resize(self, pipeline: Pipeline, user_id: str, call_id: str, amount_nusd: int) -> None:
        """Adds to the pipeline: the hold becomes the computed cost."""
        pipeline.evalsha(
            self._resize.sha,
            3,
            *_hold_keys(user_id),
            call_id,
            str(amount_nusd),
            str(SETTLING_LEASE_S * 1000),
        )

    async def settle(
        self, user_id: str, call_ids: Sequence[str], spent_nusd: Mapping[str, int]
    ) -> None:
        """Releases the holds of posted calls; spend by period as MongoDB committed it."""
        args: list[str | int] = [len(call_ids), *call_ids]
        for nusd in spent_nusd.values():
            args += [nusd, _SPENT_TTL_S]
        await self._settle(
            keys=_hold_keys(user_id) + [_spent_key(user_id, period) for period in spent_nusd],
            args=args,
        )

    async def seed(self, user_id: str, spent_nusd: Mapping[str, int]) -> None:
        """Tells Redis what MongoDB says was spent in each period."""
        await self.settle(user_id, (), spent_nusd)

    async def held(self, user_id: str) -> int:
        """Nano-USD held by calls that are under way or not posted yet."""
        held = await self._redis.get(_hold_keys(user_id)[0])
        return 0 if held is None else int(held)

    async def held_of_many(self, user_ids: Sequence[str]) -> list[int]:
        """As `held`, in the order of the ids."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for user_id in user_ids:
                pipeline.get(_hold_keys(user_id)[0])
            return [0 if held is None else int(held) for held in await pipeline.execute()]


def _hold_keys(user_id: str) -> list[str]:
    tag = f"gateway:{{{user_id}}}"
    return [f"{tag}:held", f"{tag}:leases", f"{tag}:amounts"]


def _spent_key(user_id: str, period: str) -> str:
    return f"gateway:{{{user_id}}}:spent:{period}"
