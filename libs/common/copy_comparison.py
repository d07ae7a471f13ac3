"""Compares Redis' copy of what accounts spent with the ledger's figures."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import msgspec

from libs.common.domain.checkpoints import Difference
from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.mongo.ledger_reader import LedgerReader
from libs.common.storage.redis.spend import RedisSpendReader

# Lagging copies are read again up to this many times, at this interval.
_LOOKS = 4
_PAUSE_S = 0.25


class _Lag(msgspec.Struct, frozen=True):
    user_id: str
    period: str
    copy: PeriodSpend
    spend: PeriodSpend

    @property
    def may_catch_up(self) -> bool:
        return self.spend.revision == 0 or self.copy.revision < self.spend.revision

    def difference(self) -> Difference:
        return Difference(
            user_id=self.user_id,
            where=f"redis:{self.period}",
            expected=self.spend.nusd,
            found=self.copy.nusd,
        )


class CopyComparison:
    """`settling` returns whether postings may still reach the copy."""

    def __init__(
        self,
        ledger: LedgerReader,
        redis_spend: RedisSpendReader,
        settling: Callable[[], Awaitable[bool]],
        *,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._ledger = ledger
        self._redis_spend = redis_spend
        self._settling = settling
        self._pause_s = pause_s

    async def differences(self, amounts: Mapping[str, Mapping[str, int]]) -> dict[str, Difference]:
        """The first of each account that has one, of nano-USD by user_id and period.

        Nearly always one round trip shows that there is none. A copy may be missing, and may lag
        while a posting settles; the amounts may have been read before the copy.
        """
        copies = await self._redis_spend.of(amounts)
        suspects = [pair for pair, copy in copies.items() if copy.nusd != amounts[pair[0]][pair[1]]]
        return await self._certain(suspects) if suspects else {}

    async def _certain(self, suspects: Iterable[tuple[str, str]]) -> dict[str, Difference]:
        first = await self._lagging(suspects)
        lagging, differences = first, dict[str, Difference]()
        for _ in range(_LOOKS):
            for row in lagging:
                if not row.may_catch_up:
                    differences.setdefault(row.user_id, row.difference())
            pairs = [(row.user_id, row.period) for row in lagging if row.user_id not in differences]
            if not pairs:
                return differences
            await asyncio.sleep(self._pause_s)
            lagging = await self._lagging(pairs)
        at_first = {(row.user_id, row.period): row.copy for row in first}
        stuck = [row for row in lagging if row.copy == at_first[row.user_id, row.period]]
        if stuck and not await self._settling():
            for row in stuck:
                differences.setdefault(row.user_id, row.difference())
        return differences

    async def _lagging(self, pairs: Iterable[tuple[str, str]]) -> list[_Lag]:
        periods: defaultdict[str, list[str]] = defaultdict(list)
        for user_id, period in pairs:
            periods[user_id].append(period)
        # Redis first: a copy that is newer than MongoDB's later figure is wrong.
        copies = await self._redis_spend.of(periods)
        spent = await self._ledger.spend_with_revisions([*periods], _all_of(periods.values()))
        rows = [
            _Lag(user_id, period, copy, spent.get((user_id, period), PeriodSpend()))
            for (user_id, period), copy in copies.items()
        ]
        return [row for row in rows if row.copy.nusd != row.spend.nusd]


def _all_of(periods: Iterable[Collection[str]]) -> list[str]:
    return sorted({period for group in periods for period in group})
