"""Sends the outbox's messages to their receivers.

Each receiver has a task of its own, so that one which is slow or away delays no other. A message
is tried again later after any answer but a 2xx, and fails for good after `MAX_TRIES`.
"""

import asyncio
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

import msgspec
import structlog

from libs.common.schemas.alert import Delivery, Receiver
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.web.destinations import DestinationRefused, Destinations
from libs.common.web.http_client import HttpClient, HttpUnreachable
from services.ledger_worker.alerts.signatures import signed_headers
from services.ledger_worker.metrics import Metrics
from services.ledger_worker.periodic_chores import repeat_chore, run_chore

TIMEOUT_S = 10.0
# Delays of 5, 10, 20, … 2,560 and then 3,600 seconds: about ten hours in all.
MAX_TRIES = 20
_FIRST_DELAY_S = 5
_MAX_DELAY_S = 3600
# Longer than a look-up and a call can take, so that no other worker sends the message meanwhile.
_LEASE_S = 30.0
# To one receiver.
_AT_ONCE = 4
# After this time a receiver's task ends; the next one reads the receiver anew.
_TURN_S = 30.0
_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class AlertSender:
    """Several workers may send at the same time: each claims what it sends."""

    def __init__(
        self,
        *,
        alerts: AlertStore,
        receivers: ReceiverStore,
        destinations: Destinations,
        metrics: Metrics,
        now: Callable[[], datetime],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._alerts = alerts
        self._receivers = receivers
        self._destinations = destinations
        self._metrics = metrics
        self._now = now
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()
        self._serving: dict[str, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then tries that are under way come to their end."""
        async with asyncio.TaskGroup() as tasks:
            turn = partial(self.take_turn, tasks, stop)
            await repeat_chore("alerts", turn, stop, every_s=_EVERY_S)

    async def take_turn(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Starts a task for each receiver that has messages to be sent, and no task."""
        self._serving = {id_: task for id_, task in self._serving.items() if not task.done()}
        due = await self._alerts.due_receivers(self._now())
        if not due - self._serving.keys():
            return
        receivers = {receiver.receiver_id: receiver for receiver in await self._receivers.all()}
        if due - receivers.keys():
            await self._alerts.fail_others(receivers.keys(), "its receiver was removed")
        for receiver_id in due & receivers.keys() - self._serving.keys():
            receiver = receivers[receiver_id]
            if receiver.enabled:
                serve = partial(self._serve, receiver, stop)
                self._serving[receiver_id] = tasks.create_task(run_chore("alerts", serve))

    async def _serve(self, receiver: Receiver, stop: asyncio.Event) -> None:
        until = monotonic() + _TURN_S
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._send_due(receiver, until, stop))

    async def _send_due(self, receiver: Receiver, until: float, stop: asyncio.Event) -> None:
        """Until none is due, or one could not be delivered: the rest wait for the next turn."""
        while not stop.is_set() and monotonic() < until:
            delivery = await self._alerts.claim(receiver.receiver_id, self._now(), lease_s=_LEASE_S)
            if delivery is None or not await self._send(delivery, receiver):
                return

    async def _send(self, delivery: Delivery, receiver: Receiver) -> bool:
        status, fault = await self._try(delivery, receiver)
        now = self._now()
        after = msgspec.structs.replace(delivery, http_status=status, fault=fault)
        if fault is None:
            end = "delivered"
            after = msgspec.structs.replace(after, state="delivered", delivered_at=now)
        elif delivery.tries >= MAX_TRIES:
            end = "failed"
            after = msgspec.structs.replace(after, state="failed")
        else:
            end = "postponed"
            delay_s = min(_FIRST_DELAY_S * 2 ** (delivery.tries - 1), _MAX_DELAY_S)
            after = msgspec.structs.replace(after, due_at=now + timedelta(seconds=delay_s))
        await self._alerts.store_outcome(delivery, after)
        self._metrics.alerts.labels(end).inc()
        if fault is not None:
            report = log.error if end == "failed" else log.warning
            report(
                f"alert.{end}",
                alert_id=delivery.alert_id,
                kind=delivery.kind,
                receiver_id=receiver.receiver_id,
                tries=delivery.tries,
                fault=fault,
            )
        return fault is None

    async def _try(self, delivery: Delivery, receiver: Receiver) -> tuple[int | None, str | None]:
        """The answer's status and the fault, without the receiver's own words or its URL."""
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._destinations.addresses(receiver.url)
        except DestinationRefused as error:
            return None, str(error)
        except (OSError, UnicodeError, TimeoutError) as error:
            return None, f"The receiver's host cannot be looked up ({type(error).__name__})."
        client = HttpClient(
            receiver.url,
            name="The receiver",
            setting="its url",
            timeout_s=self._timeout_s,
            addresses=addresses,
            tls=self._tls,
        )
        headers = signed_headers(delivery, receiver, self._now())
        try:
            answer = await client.post("", headers, delivery.body.encode())
        except HttpUnreachable as error:
            return None, str(error)
        if 200 <= answer.status < 300:
            return answer.status, None
        return answer.status, f"The receiver answered {answer.status}."
