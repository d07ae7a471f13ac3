"""Reads Redis' copy of the accounts' spend, which `lua/settle.lua` writes."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from libs.common.domain.checkpoints import NO_AMOUNT
from libs.common.schemas.spend import PeriodSpend
from libs.common.storage.redis.answers import answers_of
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.shards import shards_of

_READ_AT_ONCE = 500
# Of a copy that is not a figure, later than any: the ledger will not replace it.
_NO_SPEND = PeriodSpend(NO_AMOUNT, 1 << 62)


async def forget_spend(redis: Redis) -> int:
    """Deletes the copy, of accounts and keys alike; it is made again from MongoDB. Returns how many
    figures there were.
    """
    forgotten, names = 0, []
    async for name in redis.scan_iter(match="gateway:{*}:spent*", count=_READ_AT_ONCE):
        names.append(name)
        if len(names) == _READ_AT_ONCE:
            forgotten += await redis.unlink(*names)
            names.clear()
    return forgotten + (await redis.unlink(*names) if names else 0)


class RedisSpendReader:
    """The spend of accounts, not of their keys."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._shards = shards_of(redis)

    async def of(self, users: Mapping[str, Collection[str]]) -> dict[tuple[str, str], PeriodSpend]:
        """By (user_id, period), of the periods of each account. Leaves out those that Redis lacks.

        One round trip, on a cluster one for each shard at the same time. Raises RedisError or
        OSError while the only server does not answer. A shard that does not has no figures either:
        nobody is admitted by them.
        """
        by_shard: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for user_id, periods in users.items():
            shard_pairs = by_shard[self._shards.of(user_id)]
            shard_pairs += [(user_id, period) for period in periods]
        amounts: dict[tuple[str, str], PeriodSpend] = {}
        for answer in await answers_of([self._read(pairs) for pairs in by_shard.values() if pairs]):
            if not isinstance(answer, RedisError | OSError):
                amounts |= answer
            elif self._shards.count == 1:
                raise answer
        return amounts

    async def _read(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], PeriodSpend]:
        root_of = self._shards.root_of
        async with self._redis.pipeline(transaction=False) as pipeline:
            for start in range(0, len(pairs), _READ_AT_ONCE):
                chunk = pairs[start : start + _READ_AT_ONCE]
                # As bytes, which redis-py sends as they are: a third less of its time.
                names = [f"{root_of(user)}:spent:{period}".encode() for user, period in chunk]
                pipeline.mget(names)
            answers = await pipeline.execute()
        values = chain.from_iterable(answers)
        return {
            pair: _spend_of(value)
            for pair, value in zip(pairs, values, strict=True)
            if value is not None
        }


def _spend_of(value: bytes) -> PeriodSpend:
    nusd, _, revision = value.partition(b":")
    try:
        return PeriodSpend(int(nusd), int(revision or 0))
    except ValueError:
        return _NO_SPEND
