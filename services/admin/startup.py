"""Checks before the service listens, so that a failed start logs one line, not a traceback."""

import re

import stamina
import structlog

from libs.common.storage.indexes import BUILD_INDEXES, INDEXES
from libs.common.storage.mongo.driver import (
    Database,
    MongoUnsuitable,
    PyMongoError,
    is_router,
    open_database,
    ping,
)
from libs.common.storage.mongo.index import build_indexes, ensure_indexes
from libs.common.storage.mongo.sharding import NO_CLUSTER, shard_collections
from libs.common.storage.prices.price_map import open_price_map
from libs.common.storage.redis.suitability import check_if_there, publishes
from services.admin.settings import Settings
from services.admin.state import open_resources

# For the indexes of one collection.
_BUILD_TIMEOUT_S = 24 * 3600.0

log = structlog.get_logger(__name__)


async def check_start(settings: Settings) -> None:
    """Raises SettingsError, MongoUnsuitable or RedisUnsuitable. Redis may be unavailable."""
    open_price_map(settings.price_map_path)
    async with open_resources(settings) as resources:
        await check_if_there(resources.redis, publishes)
        await _await_mongo(resources.database, settings.mongo_wait_s)
        await ensure_indexes(resources.database, INDEXES, how=BUILD_INDEXES)


async def migrate(settings: Settings, *, shard: bool = False) -> None:
    """Builds the indexes that are missing, and shards the ledger, however long it takes.

    Raises what `check_start` does, and PyMongoError.
    """
    uri = settings.mongo_uri.reveal()
    async with open_database(uri) as database:
        await _await_mongo(database, settings.mongo_wait_s)
        if shard and not await is_router(database):
            raise MongoUnsuitable(NO_CLUSTER)
    async with open_database(uri, operation_timeout_s=_BUILD_TIMEOUT_S) as database:
        await build_indexes(database, INDEXES)
        if shard:
            zones = await shard_collections(database)
            log.info("ledger.sharded", zones=zones)


async def _await_mongo(database: Database, wait_s: int) -> None:
    try:
        async for attempt in stamina.retry_context(
            on=PyMongoError, attempts=None, timeout=float(wait_s), wait_max=2.0
        ):
            with attempt:
                await ping(database)
    except PyMongoError as error:
        # After a refused login the driver reports the server as unavailable, and quotes the reason.
        if refused := re.search(r"'codeName': '(\w+)'", str(error)):
            raise MongoUnsuitable(
                f"MongoDB rejects the login of MONGO_URI ({refused[1]})"
            ) from None
        raise MongoUnsuitable(
            f"MongoDB did not answer within {wait_s} s ({type(error).__name__}); check MONGO_URI"
        ) from None
