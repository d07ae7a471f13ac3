"""The ledger: whether posting keeps up, what waits, and when the books were proved."""

from datetime import datetime, timedelta

from services.admin.doctor.findings import Area, Finding
from services.admin.ledger_health import LedgerHealthView, ProofStateView, QueueView, SpoolView

AREA = Area("ledger")
_LATE, _TOO_LATE = timedelta(seconds=30), timedelta(minutes=5)
_PROOF_DUE = timedelta(days=2)


def ledger_findings(health: LedgerHealthView, now: datetime) -> list[Finding]:
    found = [_proof(health.proof, now), _letters(health.dead_letters)]
    queue, spools = health.queue, health.spools
    if queue is None:
        return [AREA.unknown("queue", "Redis does not answer"), *found]
    unknown = AREA.unknown("spool", "the master that has the notes of it does not answer")
    return [_queue(queue, now), unknown if spools is None else _spools(spools), *found]


def _queue(queue: QueueView, now: datetime) -> Finding:
    if queue.shards_away:
        reason = f"{queue.jobs:,} jobs, and shards that do not answer: {queue.shards_away}"
        return AREA.fail("queue", reason, "see which masters are away, at `redis` above")
    if queue.oldest_at is None:
        return AREA.ok("queue", "empty")
    wait = max(now - queue.oldest_at, timedelta(0))
    text = f"{queue.jobs:,} jobs, the oldest for {wait.total_seconds():,.0f} s"
    mend = "see that a worker runs (its log, or its replica below), and start more of them"
    if wait > _TOO_LATE:
        return AREA.fail("queue", f"{text}: spend is behind by as much", mend)
    if wait > _LATE:
        return AREA.warn("queue", text, mend)
    return AREA.ok("queue", text)


def _spools(spools: tuple[SpoolView, ...]) -> Finding:
    waiting = [spool for spool in spools if spool.until is None]
    if not waiting:
        return AREA.ok("spool", "no gateway holds usage on its disk")
    text = "; ".join(
        f"{each.gateway} since {each.since:%Y-%m-%d %H:%M}Z, {each.size or 0:,} bytes"
        for each in waiting
    )
    return AREA.warn(
        "spool",
        f"usage waits on disk: {text}",
        "it drains once Redis takes writes; start that gateway again if it is gone",
    )


def _proof(proof: ProofStateView, now: datetime) -> Finding:
    mend = "gatewayctl ledger verify"
    if proof.ok is False:
        return AREA.fail("proof", "the workers found a difference", mend)
    if proof.last_success_at is None:
        return AREA.unknown("proof", "no round over all accounts has ended yet", mend)
    text = f"the books agreed at {proof.last_success_at:%Y-%m-%d %H:%M}Z"
    if now - proof.last_success_at > _PROOF_DUE:
        return AREA.warn("proof", f"{text}, and were not proved since", mend)
    return AREA.ok("proof", text)


def _letters(count: int) -> Finding:
    if count:
        return AREA.warn(
            "dead letters",
            f"{count:,} deliveries could not be posted",
            "gatewayctl ledger dead-letters list, mend the reason, then replay --all",
        )
    return AREA.ok("dead letters", "none")
