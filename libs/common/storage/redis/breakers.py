"""A breaker for each shard, so that accounts of one whose server is away do not hold up others."""

from libs.common.breaker import Breaker
from libs.common.storage.redis.shards import Shards


class Breakers:
    """`shared` is for what belongs to no account; a single server has one breaker for all."""

    def __init__(self, shards: Shards, pause_s: float) -> None:
        self._shard_of = shards.of
        self.by_shard = tuple(Breaker(pause_s) for _ in range(shards.count))
        self._only = self.by_shard[0] if shards.count == 1 else None
        self.shared = self._only or Breaker(pause_s)

    def of(self, user_id: str) -> Breaker:
        """That of the account's shard."""
        return self._only or self.by_shard[self._shard_of(user_id)]

    def any_open(self) -> bool:
        """Whether the last try at a server failed."""
        return self.shared.is_open or any(breaker.is_open for breaker in self.by_shard)
