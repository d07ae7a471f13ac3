"""Whose a response is that a provider keeps: every account's lie under the same provider key.

The ledger knows for good. Until it has posted the call that made a response, Redis does, by a key
that is written together with the call's event.
"""

import msgspec

from libs.common.schemas.usage import UsageEvent
from libs.common.storage.entries import EntryStore
from libs.common.storage.mongo import Database
from libs.common.storage.pipelining import CommandSink
from libs.common.storage.redis import Redis, RedisError

# Far longer than any event waits to be posted.
_TTL_S = 24 * 3600

_encode = msgspec.msgpack.Encoder().encode


class KeptResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Where a response was made: the model by the client's name, and the deployment."""

    model: str
    deployment: str


_decode = msgspec.msgpack.Decoder(KeptResponse).decode


def remember(commands: CommandSink, event: UsageEvent) -> None:
    """Adds to the commands whose the call's response is, where it has one."""
    if event.response_id is None or event.requested_model is None or event.deployment is None:
        return
    kept = KeptResponse(model=event.requested_model, deployment=event.deployment)
    key = _key(event.user_id, event.response_id)
    commands.execute_command("SET", key, _encode(kept), "EX", _TTL_S)


class ResponseStore:
    """Answers for one account at a time: what belongs to another one does not exist."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._entries = EntryStore(database)

    async def find(self, user_id: str, response_id: str) -> KeptResponse | None:
        """Raises PyMongoError where only the ledger could know and it is away."""
        try:
            kept = await self._redis.get(_key(user_id, response_id))
        except RedisError:
            kept = None
        if kept is not None:
            return _decode(kept)
        entry = await self._entries.of_response(user_id, response_id)
        if entry is None or entry.requested_model is None or entry.deployment is None:
            return None
        return KeptResponse(model=entry.requested_model, deployment=entry.deployment)


def _key(user_id: str, response_id: str) -> str:
    return f"gateway:{{{user_id}}}:response:{response_id}"
