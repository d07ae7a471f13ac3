"""Watches, by the clock, for facts that no job brings to the worker.

Several workers may watch at the same time: a fact that is found twice is one alert.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from libs.common.outbox import Outbox
from libs.common.schemas.alert import Alert, DeploymentCooledDown, KeyExpiring, SpoolNotEmpty
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.redis.cooldowns import CooldownStore
from libs.common.storage.redis.spool_notes import SpoolNoteStore

# The keys that expire next; later ones are told once these have.
_MAX_KEYS = 10_000
_MS = 1000


def hour_key(at: datetime) -> str:
    """The hour's key, for facts that are reported once an hour."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H")


class CooldownWatch:
    """Alerts of deployments that cool down for all accounts."""

    def __init__(
        self, cooldowns: CooldownStore, outbox: Outbox, now: Callable[[], datetime]
    ) -> None:
        self._cooldowns = cooldowns
        self._outbox = outbox
        self._now = now

    async def look(self) -> None:
        if not await self._outbox.wants("deployment.cooled_down"):
            return
        now = self._now()
        cooling = await self._cooldowns.active(now_s=now.timestamp())
        await self._outbox.add(
            [
                Alert(
                    kind="deployment.cooled_down",
                    name=f"{deployment}|{hour_key(now)}",
                    user_id=None,
                    at=now,
                    data=DeploymentCooledDown(
                        deployment=deployment, until=datetime.fromtimestamp(until_s, UTC)
                    ),
                )
                for deployment, until_s in cooling.items()
            ]
        )


class SpoolWatch:
    """Alerts of spools that had records for `after_s` seconds, even if they are empty again."""

    def __init__(
        self, notes: SpoolNoteStore, outbox: Outbox, now: Callable[[], datetime], *, after_s: float
    ) -> None:
        self._notes = notes
        self._outbox = outbox
        self._now = now
        self._after_ms = after_s * _MS

    async def look(self) -> None:
        now = self._now()
        for note in await self._notes.all():
            until_ms = now.timestamp() * _MS if note.until_ms is None else note.until_ms
            if until_ms - note.since_ms >= self._after_ms:
                await self._outbox.add(
                    [
                        Alert(
                            kind="spool.not_empty",
                            name=note.name,
                            user_id=None,
                            at=now,
                            data=SpoolNotEmpty(
                                gateway=note.gateway,
                                since=_at(note.since_ms),
                                until=None if note.until_ms is None else _at(note.until_ms),
                            ),
                        )
                    ]
                )
            if note.until_ms is not None or note.is_gone(now.timestamp() * _MS):
                await self._notes.remove(note)


class ExpiryWatch:
    """Alerts of active keys that expire within `within`."""

    def __init__(
        self, keys: KeyStore, outbox: Outbox, now: Callable[[], datetime], *, within: timedelta
    ) -> None:
        self._keys = keys
        self._outbox = outbox
        self._now = now
        self._within = within

    async def look(self) -> None:
        if not await self._outbox.wants("key.expiring"):
            return
        now = self._now()
        keys = await self._keys.expiring(now, now + self._within, limit=_MAX_KEYS)
        await self._outbox.add(
            [
                Alert(
                    kind="key.expiring",
                    name=f"{key.key_id}|{expires_at.isoformat()}",
                    user_id=key.user_id,
                    at=now,
                    until=expires_at,
                    data=KeyExpiring(
                        key_id=key.key_id,
                        user_id=key.user_id,
                        name=key.name,
                        prefix=key.prefix,
                        expires_at=expires_at,
                    ),
                )
                for key in keys
                if (expires_at := key.expires_at) is not None
            ]
        )


def _at(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / _MS, UTC)
