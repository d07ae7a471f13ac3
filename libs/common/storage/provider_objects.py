"""Finds the owner of an object at a provider, where all accounts share one key.

The ledger keeps it for good. Until it has posted the call that made an object, Redis does, by a key
that is written together with the call's event.
"""

from collections.abc import Iterable, Sequence

import msgspec

from libs.common.domain.token_classes import total_tokens
from libs.common.schemas.entry import LedgerEntry
from libs.common.schemas.usage import MAX_OBJECT_ID_CHARS, UsageEvent
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.entries import EntryStore
from libs.common.storage.redis.client import Redis, RedisError
from libs.common.storage.redis.pipelining import CommandSink
from libs.common.storage.redis.shards import Shards, shards_of

# Far longer than any event waits to be posted.
_TTL_S = 24 * 3600

_encode = msgspec.msgpack.Encoder().encode


class ProviderObject(msgspec.Struct, frozen=True, kw_only=True):
    """Where an object was made: the model by the client's name, and the deployment.

    `tokens` are all that its call had, input and output; None where that is not known.
    """

    model: str
    deployment: str
    tokens: int | None = None


_decode = msgspec.msgpack.Decoder(ProviderObject).decode


def remember(commands: CommandSink, shards: Shards, event: UsageEvent) -> None:
    """Adds to the commands whose it is, for everything that the call made."""
    if event.response_id is None and not event.objects:
        return
    provider_object = _object_of(event)
    if provider_object is None:
        return
    value, root = _encode(provider_object), shards.root_of(event.user_id)
    for object_id in _ids_of(event):
        commands.execute_command("SET", _key(root, object_id), value, "EX", _TTL_S)


class ObjectStore:
    """Answers for one account at a time: what belongs to another one does not exist."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._shards = shards_of(redis)
        self._entries = EntryStore(database)

    async def find(self, user_id: str, object_ids: Iterable[str]) -> dict[str, ProviderObject]:
        """Those of them that the account's calls made.

        Raises PyMongoError or RedisError where only the one that is away could know.
        """
        # No provider has ids like these, and no store could be asked for some of them.
        ids = [i for i in dict.fromkeys(object_ids) if _is_sound(i)]
        if not ids:
            return {}
        failure: RedisError | None = None
        root = self._shards.root_of(user_id)
        try:
            values = await self._redis.mget([_key(root, object_id) for object_id in ids])
        except RedisError as error:
            failure, values = error, [None] * len(ids)
        found = {i: _decode(v) for i, v in zip(ids, values, strict=True) if v is not None}
        missing = [object_id for object_id in ids if object_id not in found]
        if missing:
            found |= await self._find_posted(user_id, missing)
        if failure is not None and len(found) < len(ids):
            raise failure
        return found

    async def _find_posted(
        self, user_id: str, object_ids: Sequence[str]
    ) -> dict[str, ProviderObject]:
        objects: dict[str, ProviderObject] = {}
        for entry in await self._entries.makers_of(user_id, object_ids):
            provider_object = _object_of(entry)
            if provider_object is not None:
                objects |= {i: provider_object for i in _ids_of(entry) if i in object_ids}
        return objects


def _ids_of(call: UsageEvent | LedgerEntry) -> list[str]:
    ids = [] if call.response_id is None else [call.response_id]
    return [*ids, *(object_id for object_id in call.objects if object_id != call.response_id)]


def _object_of(call: UsageEvent | LedgerEntry) -> ProviderObject | None:
    if call.requested_model is None or call.deployment is None:
        return None
    return ProviderObject(
        model=call.requested_model,
        deployment=call.deployment,
        tokens=None if call.usage is None else total_tokens(call.usage),
    )


def _is_sound(object_id: str) -> bool:
    return (
        0 < len(object_id) <= MAX_OBJECT_ID_CHARS
        and object_id.isascii()
        and object_id.isprintable()
    )


def _key(root: str, object_id: str) -> str:
    return f"{root}:object:{object_id}"
