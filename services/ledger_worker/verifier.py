"""Proves the ledger continuously, a bounded range of accounts per turn."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

import msgspec
import structlog

from libs.common.domain.periods import period_key
from libs.common.findings import Findings, RoundPart
from libs.common.outbox import Outbox
from libs.common.prover import Prover
from libs.common.schemas.alert import Alert, LedgerDrifted
from libs.common.storage.mongo.proofs import Progress, ProofStore
from libs.common.storage.redis.client import Redis
from services.ledger_worker.metrics import Metrics

_TURN = "gateway:worker:verify"
# The duration of one turn; the next turn continues with the remaining accounts.
_WITHIN_S = 60.0
# Of the time between two turns, for which no other worker takes one.
_TAKEN_SHARE = 0.9

log = structlog.get_logger(__name__)


class Verifier:
    """Each turn is taken by one of the workers; all of them export its result as metrics.

    Whatever a page of accounts came to is kept before the next one, so that a worker goes on where
    one that was killed has stopped.
    """

    def __init__(
        self,
        *,
        prover: Prover,
        proofs: ProofStore,
        redis: Redis,
        outbox: Outbox,
        metrics: Metrics,
        every_s: float,
        full_every: timedelta,
        now: Callable[[], datetime],
        within_s: float = _WITHIN_S,
    ) -> None:
        self._prover = prover
        self._proofs = proofs
        self._redis = redis
        self._outbox = outbox
        self._metrics = metrics
        self._taken_s = every_s * _TAKEN_SHARE
        self._full_every = full_every
        self._now = now
        self._within_s = min(within_s, self._taken_s)

    async def take_turn(self) -> None:
        progress = await self._proofs.progress()
        turn_ms = max(int(self._taken_s * 1000), 1)
        if await self._redis.set(_TURN, b"taken", nx=True, px=turn_ms):
            progress = await self._prove(progress)
        self._show(progress)

    async def _prove(self, progress: Progress) -> Progress:
        give_up_at = monotonic() + self._within_s
        findings = Findings()
        while True:
            part = await self._prover.prove_due(
                progress.after,
                progress.under_way,
                full_every=self._full_every,
                give_up_at=give_up_at,
            )
            await self._proofs.save(part.seals)
            if findings.first_difference is None:
                await self._add_alerts(part.findings)
            findings = findings.with_later(part.findings)
            saved = await self._proofs.save_progress(self._after(progress, part))
            if saved is None:
                # Another worker goes on from here, or further.
                saved = await self._proofs.progress()
                break
            progress = saved
            if part.is_last or monotonic() > give_up_at:
                break
        _report(findings)
        return saved

    def _after(self, progress: Progress, part: RoundPart) -> Progress:
        findings = part.findings
        sound = progress.sound and findings.first_difference is None
        progress = msgspec.structs.replace(
            progress,
            after=findings.next_after,
            under_way=part.under_way,
            sound=sound,
            ok=progress.ok if findings.first_difference is None else False,
        )
        if not part.is_last:
            return progress
        return msgspec.structs.replace(
            progress,
            sound=True,
            ok=sound,
            last_success_at=self._now() if sound else progress.last_success_at,
        )

    async def _add_alerts(self, findings: Findings) -> None:
        """Once a day for a place that differs: it is found again in each round."""
        difference, now = findings.first_difference, self._now()
        if difference is None:
            return
        data = LedgerDrifted(
            user_id=difference.user_id,
            where=difference.where,
            unit=difference.unit,
            expected=difference.expected,
            found=difference.found,
            drifting_accounts=findings.drifting,
        )
        alert = Alert(
            kind="ledger.drifted",
            name=f"{difference.user_id}|{difference.where}|{period_key('daily', now)}",
            user_id=difference.user_id,
            at=now,
            data=data,
        )
        await self._outbox.add([alert])

    def _show(self, progress: Progress) -> None:
        if progress.ok is not None:
            self._metrics.verify_ok.set(progress.ok)
        if progress.last_success_at is not None:
            self._metrics.verify_last_success.set(progress.last_success_at.timestamp())


def _report(findings: Findings) -> None:
    difference = findings.first_difference
    if difference is None:
        log.info(
            "ledger.verified",
            accounts=findings.accounts,
            unchanged=findings.unchanged,
            entries=findings.entries,
        )
        return
    log.error(
        "ledger.drifted",
        user_id=difference.user_id,
        where=difference.where,
        unit=difference.unit,
        expected=difference.expected,
        found=difference.found,
        drifting_accounts=findings.drifting,
    )
