"""The sender: signed, at least once, retried within a bound, and each receiver by itself."""

import asyncio
import os
import signal
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from libs.common.outbox import delivery_of
from libs.common.schemas.account import Budget
from libs.common.schemas.alert import Alert, Delivery, Receiver, ReceiverTest
from libs.common.storage.mongo.alert_receivers import ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.web.destinations import Destinations
from services.ledger_worker.alerts.sender import MAX_TRIES, AlertSender
from tests.servers import HOST, free_port
from tests.service.ledger_worker.test_process import environment, started
from tests.service.ledger_worker.worker_stage import CALL_NUSD, NOW, Stage, count_of, make_events
from tests.support.polling import eventually
from tests.support.receivers import SECRET, HttpReceiver, list_deliveries, receiver

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class Desk:
    """Receivers, messages to them, and a sender whose clock the test moves."""

    def __init__(self, stage: Stage, *, timeout_s: float = 10.0) -> None:
        self.alerts = AlertStore(stage.database)
        self.receivers = ReceiverStore(stage.database)
        # The receivers check that signatures are of the present time.
        self.began = datetime.now(NOW.tzinfo)
        self.passed = timedelta()
        self.sender = AlertSender(
            alerts=self.alerts,
            receivers=self.receivers,
            destinations=Destinations([HOST]),
            metrics=stage.metrics,
            now=lambda: self.now,
            timeout_s=timeout_s,
        )

    @property
    def now(self) -> datetime:
        return self.began + self.passed

    async def add(self, *added: Receiver) -> None:
        for each in added:
            await self.receivers.insert(each)

    async def tell(self, receiver_id: str, number: int = 1) -> list[Delivery]:
        data = ReceiverTest(receiver_id=receiver_id)
        new = [
            delivery_of(
                Alert(
                    kind="receiver.test",
                    name=os.urandom(8).hex(),
                    user_id=None,
                    at=self.now,
                    data=data,
                ),
                receiver_id,
            )
            for _ in range(number)
        ]
        await self.alerts.add(new)
        return new

    async def turn(self) -> None:
        """One turn, and all that it sends."""
        async with asyncio.TaskGroup() as tasks:
            await self.sender.take_turn(tasks, asyncio.Event())

    async def all(self) -> list[Delivery]:
        return await list_deliveries(self.alerts)


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return Desk(stage)


async def test_messages_are_signed_and_sent_once(desk: Desk, stage: Stage) -> None:
    async with HttpReceiver().serving() as hooks:
        await desk.add(receiver("rcv_1", hooks.url))
        sent = await desk.tell("rcv_1", 7)
        await desk.turn()
        await desk.turn()
    assert sorted(m.id for m in hooks.messages) == sorted(d.alert_id for d in sent)
    assert hooks.of("receiver.test") == [{"version": 1, "receiver_id": "rcv_1"}] * 7
    for delivery in await desk.all():
        assert (delivery.state, delivery.http_status, delivery.tries) == ("delivered", 204, 1)
        assert delivery.delivered_at is not None
        assert delivery.fault is None
    assert count_of(stage.metrics.alerts) == 7


async def test_both_secrets_sign_while_a_secret_is_replaced(desk: Desk) -> None:
    until = desk.now + timedelta(hours=1)
    async with (
        HttpReceiver(secret=OTHER_SECRET).serving() as new,
        HttpReceiver(secret=SECRET).serving() as old,
    ):
        replaced = {"secret": OTHER_SECRET, "old_secret": SECRET, "old_secret_until": until}
        await desk.add(receiver("rcv_new", new.url, **replaced))
        await desk.add(receiver("rcv_old", old.url, **replaced))
        for receiver_id in ("rcv_new", "rcv_old"):
            await desk.tell(receiver_id)
        await desk.turn()
        assert (len(new.messages), len(old.messages)) == (1, 1)


async def test_a_receiver_that_fails_is_tried_again_with_the_same_id(desk: Desk) -> None:
    # A redirect is an answer like others: nothing goes where it points.
    async with HttpReceiver(500, 307, 200).serving() as hooks:
        await desk.add(receiver("rcv_1", hooks.url))
        await desk.tell("rcv_1")
        for number, delay_s in ((1, 5), (2, 10), (3, 0)):
            await desk.turn()
            # Not before its time.
            await desk.turn()
            assert len(hooks.messages) == number
            desk.passed += timedelta(seconds=delay_s)
        await desk.turn()
    assert len({message.id for message in hooks.messages}) == 1
    assert len(hooks.messages) == 3
    [delivery] = await desk.all()
    assert (delivery.state, delivery.tries, delivery.http_status) == ("delivered", 3, 200)


async def test_tries_are_bounded_and_a_replay_starts_anew(desk: Desk) -> None:
    port = free_port()
    await desk.add(receiver("rcv_1", f"http://{HOST}:{port}/alerts?of=gateway"))
    [delivery] = await desk.tell("rcv_1")
    for tries in range(1, MAX_TRIES + 1):
        await desk.turn()
        [delivery] = await desk.all()
        assert delivery.tries == tries
        desk.passed = delivery.due_at - desk.began
    assert delivery.state == "failed"
    assert timedelta(hours=9) < desk.passed < timedelta(hours=11)
    fault = "The receiver cannot be reached (ConnectionRefusedError): check its url."
    assert delivery.fault == fault
    desk.passed = timedelta()
    await desk.turn()
    async with HttpReceiver(port=port).serving() as hooks:
        assert await desk.alerts.replay(delivery.alert_id, desk.now) is not None
        await desk.turn()
    assert [message.id for message in hooks.messages] == [delivery.alert_id]
    [delivery] = await desk.all()
    assert (delivery.state, delivery.tries, delivery.fault) == ("delivered", 1, None)


async def test_a_receiver_that_hangs_delays_no_other(desk: Desk) -> None:
    async with HttpReceiver().serving() as hanging, HttpReceiver().serving() as quick:
        hanging.answers.clear()
        await desk.add(receiver("rcv_hangs", hanging.url), receiver("rcv_quick", quick.url))
        await desk.tell("rcv_hangs", 20)
        async with asyncio.TaskGroup() as tasks:
            stop = asyncio.Event()
            for number in range(1, 4):
                await desk.tell("rcv_quick")

                # A turn leaves out a receiver whose task still runs, as after its last message.
                async def has_arrived(number: int = number) -> bool:
                    await desk.sender.take_turn(tasks, stop)
                    return len(quick.messages) == number

                await eventually(has_arrived)
            # No more at a time, whatever waits.
            assert 0 < len(hanging.messages) <= 4
            stop.set()
            hanging.answers.set()


async def test_a_receiver_that_does_not_answer_in_time(stage: Stage) -> None:
    desk = Desk(stage, timeout_s=0.2)
    async with HttpReceiver().serving() as hooks:
        hooks.answers.clear()
        await desk.add(receiver("rcv_1", hooks.url))
        await desk.tell("rcv_1")
        await desk.turn()
        hooks.answers.set()
    [delivery] = await desk.all()
    assert (delivery.state, delivery.http_status) == ("pending", None)
    assert delivery.fault == "The receiver did not answer within 0.2 s."


async def test_messages_wait_while_a_receiver_is_off_and_fail_when_it_is_removed(
    desk: Desk,
) -> None:
    async with HttpReceiver().serving() as hooks:
        off = receiver("rcv_1", hooks.url, enabled=False, revision="a")
        await desk.add(off)
        await desk.tell("rcv_1")
        await desk.turn()
        assert [d.state for d in await desk.all()] == ["pending"]
        assert await desk.receivers.delete("rcv_1", revision="a")
        await desk.turn()
    [delivery] = await desk.all()
    assert (delivery.state, delivery.fault) == ("failed", "its receiver was removed")
    assert hooks.messages == []


async def test_nothing_is_sent_where_it_must_not(desk: Desk) -> None:
    async with HttpReceiver().serving() as hooks:
        # `localhost` is not allowed by name, and has no public address.
        url = hooks.url.replace(HOST, "localhost").replace("http:", "https:")
        await desk.add(receiver("rcv_1", url))
        await desk.tell("rcv_1")
        await desk.turn()
    [delivery] = await desk.all()
    assert delivery.state == "pending"
    assert delivery.fault is not None
    assert "no public address" in delivery.fault
    assert hooks.messages == []


async def test_a_worker_that_dies_while_it_sends_leaves_the_message_to_another(desk: Desk) -> None:
    await desk.add(receiver("rcv_1", f"http://{HOST}:1/"))
    await desk.tell("rcv_1")
    claim = await desk.alerts.claim("rcv_1", desk.now, lease_s=30)
    assert claim is not None
    assert await desk.alerts.claim("rcv_1", desk.now, lease_s=30) is None
    desk.passed = timedelta(seconds=30)
    again = await desk.alerts.claim("rcv_1", desk.now, lease_s=30)
    assert again is not None
    assert (again.alert_id, again.tries) == (claim.alert_id, 2)
    # The first worker was only slow: what it has to say comes too late.
    late = msgspec.structs.replace(claim, state="failed")
    assert not await desk.alerts.store_outcome(claim, late)
    assert await desk.alerts.store_outcome(again, msgspec.structs.replace(again, state="delivered"))


@pytest.mark.parametrize("listens", [False, True])
async def test_a_worker_killed_before_it_delivers(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path, *, listens: bool
) -> None:
    """The posting wrote the alert; the next worker sends it, once and by the same id."""
    budget = Budget(limit_nusd=4 * CALL_NUSD, period="monthly", alert_percents=(50,))
    await stage.accounts.update("alice", {"budgets": msgspec.to_builtins((budget,))}, NOW)
    port = free_port()
    url = f"http://{HOST}:{port}/alerts?of=gateway"
    await ReceiverStore(stage.database).insert(receiver("rcv_1", url))
    alerts = AlertStore(stage.database)
    values = environment(mongo_uri, redis_url, ALERT_ALLOWED_HOSTS=f"{HOST}:{port}")
    hooks = HttpReceiver(port=port)
    hooks.answers.clear()

    async def is_tried() -> bool:
        if listens:
            return bool(hooks.messages)
        return any(d.fault for d in await list_deliveries(alerts))

    async def post_and_kill() -> None:
        async with started(tmp_path / "killed.log", values) as killed:
            await killed.says("worker.started")
            await stage.enqueue(make_events(3))
            await eventually(is_tried)
            assert await killed.end(signal.SIGKILL) == -signal.SIGKILL

    if not listens:
        await post_and_kill()
    async with hooks.serving():
        if listens:
            await post_and_kill()
        hooks.answers.set()
        [pending] = await list_deliveries(alerts, state="pending")
        # The killed worker's claim, or the next try after a failed one, is due.
        pending_one = {"_id": pending.alert_id}
        await stage.database["alerts"].update_one(pending_one, {"$set": {"due_at": NOW}})
        async with started(tmp_path / "next.log", values):

            async def is_delivered() -> bool:
                return bool(await list_deliveries(alerts, state="delivered"))

            await eventually(is_delivered)
    assert {message.id for message in hooks.messages} == {pending.alert_id}
    assert len(hooks.messages) == (2 if listens else 1)
    assert hooks.of("budget.threshold_reached")[0]["percent"] == 50
