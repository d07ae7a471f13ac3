"""The messages; that they arrive is shown on a real server in tests/service/storage."""

import asyncio
from typing import cast, get_args

import msgspec
import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from structlog.testing import capture_logs

from libs.common.schemas.invalidation import Invalidation, InvalidationKind
from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.invalidation import CHANNEL, listen, publish
from tests.fake_redis import FakeConnection, fake_redis


class Listener:
    """A gateway's ear: what it heard, and a way to wait for it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Invalidation | str] = asyncio.Queue()

    def forget(self, invalidation: Invalidation) -> None:
        self.messages.put_nowait(invalidation)

    def forget_all(self) -> None:
        self.messages.put_nowait("everything")

    async def next(self) -> Invalidation | str:
        async with asyncio.timeout(5):
            return await self.messages.get()


@pytest.mark.parametrize("kind", get_args(InvalidationKind))
async def test_each_kind_of_invalidation_arrives_as_it_was_sent(kind: InvalidationKind) -> None:
    redis, listener = fake_redis(), Listener()
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen(redis, listener.forget, listener.forget_all))
        assert await listener.next() == "everything"
        sent = Invalidation(kind=kind, id="a/b:c é \N{SNOWMAN}")
        await publish(redis, sent)
        assert await listener.next() == sent
        listening.cancel()
    await redis.aclose()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"null",
        b'{"kind":"key"}',
        b'{"kind":"weather","id":"x"}',
        # Text that is not UTF-8 is not a MsgspecError.
        b'{"kind":"key","id":"\xff"}',
        b'{"kind":"key","more":' + b"[" * 100_000,
    ],
)
async def test_an_unreadable_message_does_not_end_the_subscription(message: bytes) -> None:
    redis, listener = fake_redis(), Listener()
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen(redis, listener.forget, listener.forget_all))
        assert await listener.next() == "everything"
        await redis.publish(CHANNEL, message)
        after = Invalidation(kind="account", id="acme")
        await publish(redis, after)
        assert await listener.next() == after
        listening.cancel()
    await redis.aclose()


async def test_fields_of_a_later_version_are_ignored() -> None:
    redis, listener = fake_redis(), Listener()
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen(redis, listener.forget, listener.forget_all))
        assert await listener.next() == "everything"
        later = msgspec.json.encode({"kind": "key", "id": "k", "version": 7})
        await redis.publish(CHANNEL, later)
        assert await listener.next() == Invalidation(kind="key", id="k")
        listening.cancel()
    await redis.aclose()


async def test_an_outage_is_logged_once() -> None:
    server, listener = FakeServer(), Listener()
    server.connected = False
    redis = FakeAsyncRedis(server=server, connection_class=FakeConnection)
    tries = 0

    class Counted:
        """The client, until it was asked three times in vain."""

        def pubsub(self) -> object:
            nonlocal tries
            tries += 1
            server.connected = tries > 3
            return redis.pubsub()

    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(
                listen(
                    cast("Redis", Counted()), listener.forget, listener.forget_all, reconnect_s=0.0
                )
            )
            assert await listener.next() == "everything"
            listening.cancel()
    assert tries == 4
    assert [line["event"] for line in logs] == ["invalidations.disconnected"]
    await redis.aclose()
