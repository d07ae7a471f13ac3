"""Writes alerts to the outbox, a message for each receiver that wants them."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

import msgspec
from cachetools import LRUCache

from libs.common.schemas.alert import Alert, AlertKind, AlertPayload, Delivery, Receiver
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.driver import Database, Session
from libs.common.web.json import encode_json

# How long a change of a receiver may go unnoticed.
_RECEIVERS_S = 1.0
# Messages are kept for that long, and at least until their fact cannot be found again.
RETENTION = timedelta(days=30)
# Late events may reach a period after its end.
_AFTER_PERIOD = timedelta(days=7)
_MAX_KNOWN = 10_000
# Messages read and written at a time.
_AT_ONCE = 100


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body; the message's id is in its header."""

    type: AlertKind
    timestamp: datetime
    data: AlertPayload


class Outbox:
    """A receiver that does not exist yet, or is disabled, misses the alerts of that time."""

    def __init__(
        self,
        alerts: AlertStore,
        receivers: ReceiverStore,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._alerts = alerts
        self._store = receivers
        self._clock = clock
        self._receivers: Sequence[Receiver] = ()
        self._read_at: float | None = None
        # Ids of messages that exist, so that a fact that is found with every posting costs nothing.
        self._known_ids: LRUCache[str, bool] = LRUCache(_MAX_KNOWN)

    async def wants(self, *kinds: AlertKind) -> bool:
        """Whether any receiver does."""
        receivers = await self._current()
        return any(r.enabled and (not r.kinds or set(r.kinds) & {*kinds}) for r in receivers)

    async def add(self, alerts: Sequence[Alert], session: Session | None = None) -> None:
        """Writes the messages that do not exist yet; in a session, as a part of its transaction."""
        receivers = await self._current()
        deliveries: dict[str, Delivery] = {}
        for alert in alerts:
            for receiver in receivers:
                if receiver.wants(alert.kind, alert.user_id):
                    alert_id = _id_of(alert, receiver.receiver_id)
                    if alert_id not in self._known_ids and alert_id not in deliveries:
                        deliveries[alert_id] = delivery_of(alert, receiver.receiver_id)
        for chunk in _parts(list(deliveries.values())):
            # The transaction may yet be rolled back, so its ids are not cached.
            existing = await self._alerts.existing_ids([each.alert_id for each in chunk], session)
            self._known_ids.update(dict.fromkeys(existing, True))
            new = [delivery for delivery in chunk if delivery.alert_id not in existing]
            if new:
                await self._alerts.add(new, session)

    async def _current(self) -> Sequence[Receiver]:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _RECEIVERS_S:
            self._receivers = await self._store.all()
            self._read_at = now
        return self._receivers


def outbox_of(database: Database) -> Outbox:
    return Outbox(AlertStore(database), ReceiverStore(database))


def delivery_of(alert: Alert, receiver_id: str) -> Delivery:
    """The message of an endless fact, such as of a `total` budget, never expires."""
    body = encode_json(_Message(type=alert.kind, timestamp=alert.at, data=alert.data)).decode()
    until = alert.at if alert.until is None else max(alert.at, alert.until + _AFTER_PERIOD)
    return Delivery(
        alert_id=_id_of(alert, receiver_id),
        receiver_id=receiver_id,
        kind=alert.kind,
        user_id=alert.user_id,
        body=body,
        due_at=alert.at,
        created_at=alert.at,
        expires_at=None if alert.endless else until + RETENTION,
    )


def _id_of(alert: Alert, receiver_id: str) -> str:
    """A hash of the fact's name and the receiver, so that a repeated fact is not a new message."""
    digest = hashlib.sha256(f"{alert.kind}\0{alert.name}\0{receiver_id}".encode()).hexdigest()
    return f"msg_{digest[:32]}"


def _parts(deliveries: Sequence[Delivery]) -> Iterator[Sequence[Delivery]]:
    for start in range(0, len(deliveries), _AT_ONCE):
        yield deliveries[start : start + _AT_ONCE]
