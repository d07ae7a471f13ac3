"""Keeps a lease on the worker's MongoDB session and kills the sessions of dead workers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from libs.common.storage.mongo.driver import (
    Database,
    OperationFailure,
    PyMongoError,
    Session,
    kill_sessions,
    open_session,
    session_id,
)
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.session_leases import SessionLeases
from services.ledger_worker.queue_worker import pause

_RENEW_INTERVAL_S = 1.0
# Several late renewals pass before a worker counts as dead.
_LEASE_MS = 5_000

log = structlog.get_logger(__name__)


@asynccontextmanager
async def leased_session(database: Database, redis: Redis) -> AsyncIterator[Session]:
    """One session for all of a worker's transactions, which never overlap."""
    leases, stop = SessionLeases(redis), asyncio.Event()
    async with open_session(database) as session:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_keep(leases, database, session, stop))
            try:
                yield session
            finally:
                stop.set()
        with suppress(RedisError, OSError):
            await leases.release([session_id(session)])


async def _keep(
    leases: SessionLeases, database: Database, session: Session, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        try:
            expired = await leases.renew(session_id(session), lease_ms=_LEASE_MS)
            await kill_expired(expired, leases, database)
        except (RedisError, PyMongoError, OSError) as error:
            # Until the next renewal, only MongoDB's own timeout ends a dead worker's transaction.
            log.debug("sessions.not_renewed", error=error)
        await pause(stop, _RENEW_INTERVAL_S)


async def kill_expired(expired: Sequence[UUID], leases: SessionLeases, database: Database) -> None:
    """Ends the transactions of workers that have died."""
    if not expired:
        return
    try:
        await kill_sessions(database, expired)
    except OperationFailure as error:
        # Some hosted clusters forbid it; MongoDB then ends them by itself.
        log.warning("sessions.not_killed", error=error)
    else:
        log.info("sessions.killed", sessions=len(expired))
    await leases.release(expired)
