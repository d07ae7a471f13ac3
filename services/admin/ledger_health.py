"""`/admin/ledger/health`: how far posting is behind, what waits, and when the books were proved."""

from datetime import UTC, datetime
from typing import Literal

import msgspec
import structlog
from starlette.requests import Request

from libs.common.storage.queue.event_queue import queue_state
from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.spool_notes import SpoolNote
from services.admin.endpoints import Answer
from services.admin.state import State

_MS = 1000

log = structlog.get_logger(__name__)


class HealthQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Without `counts`, accounts are not counted: some servers read an index to its end for it."""

    counts: bool = True


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """`jobs` wait or run; `oldest_at` is of a sample of them, null where there is none.

    Neither is of the `shards_away` of a Redis Cluster, which do not answer.
    """

    jobs: int
    oldest_at: datetime | None
    shards_away: int


class SpoolView(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's note, at `noted_at`, of usage on its disk that Redis did not have yet.

    `until` is null while it waits. `size` is in bytes, room for more included. A gateway speaks up
    after five seconds, every ten; what it said is forgotten after a day.
    """

    gateway: str
    since: datetime
    until: datetime | None
    noted_at: datetime | None
    size: int | None


class ProofStateView(msgspec.Struct, frozen=True, kw_only=True):
    """Of the workers, who prove all accounts in rounds.

    `ok` is null before the first round has ended, and false as soon as one has found a difference.
    `sealed_accounts` have a checkpoint: the entries up to it are proved.
    `proved_until` is the account that the round under way proved last. The numbers of accounts are
    null where they were not asked for.
    """

    ok: bool | None
    last_success_at: datetime | None
    proved_until: str | None
    accounts: int | None
    sealed_accounts: int | None


class LedgerHealthView(msgspec.Struct, frozen=True, kw_only=True):
    """`queue` and `spools` are null while Redis does not answer, or in a cluster the master that
    has the one or the other; Redis is down if neither is known.
    """

    redis: Literal["up", "down"]
    queue: QueueView | None
    spools: tuple[SpoolView, ...] | None
    dead_letters: int
    proof: ProofStateView


async def show_ledger_health(
    request: Request[State], query: HealthQuery
) -> Answer[LedgerHealthView]:
    """Reads the state that gateways and workers store, and proves nothing itself."""
    state = request.state
    queue, spools = await _queue(state), await _spools(state)
    progress = await state["proofs"].progress()
    proof = ProofStateView(
        ok=progress.ok,
        last_success_at=progress.last_success_at,
        proved_until=progress.after,
        accounts=await state["proofs"].accounts() if query.counts else None,
        sealed_accounts=await state["proofs"].sealed() if query.counts else None,
    )
    return Answer(
        LedgerHealthView(
            redis="down" if queue is None and spools is None else "up",
            queue=queue,
            spools=spools,
            dead_letters=await state["dead_letters"].count(),
            proof=proof,
        )
    )


async def _queue(state: State) -> QueueView | None:
    try:
        queue = await queue_state(state["redis"])
    except (RedisError, OSError) as error:
        log.warning("queue.unavailable", error=error)
        return None
    return QueueView(
        jobs=queue.jobs, oldest_at=_time(queue.oldest_ms), shards_away=queue.shards_away
    )


async def _spools(state: State) -> tuple[SpoolView, ...] | None:
    try:
        return tuple(map(_spool, await state["spool_notes"].all()))
    except (RedisError, OSError) as error:
        log.warning("spools.unavailable", error=error)
        return None


def _spool(note: SpoolNote) -> SpoolView:
    return SpoolView(
        gateway=note.gateway,
        since=datetime.fromtimestamp(note.since_ms / _MS, UTC),
        until=_time(note.until_ms),
        noted_at=_time(note.noted_ms),
        size=note.bytes,
    )


def _time(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else datetime.fromtimestamp(unix_ms / _MS, UTC)
