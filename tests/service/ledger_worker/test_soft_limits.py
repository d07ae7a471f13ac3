"""Soft limits: one message per account or key, budget and period, however it is delivered."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from libs.common.domain.periods import period_key
from libs.common.schemas.account import Budget
from libs.common.schemas.holds import Spent
from libs.common.schemas.key import ApiKey
from libs.common.settings import Secret, SettingsError
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.redis.notices import NoticeStore
from services.ledger_worker.soft_limits import SoftLimitWatch, Webhook, webhook_client
from tests.servers import HOST, free_port
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    NOW,
    Stage,
    count_of,
    make_event,
    settings_for,
    working,
)
from tests.support.polling import eventually
from tests.support.sockets import accepting

SOFT = Budget(limit_nusd=2_000_000_000, period="total", soft_limit_nusd=1_000_000_000)
DAILY = Budget(limit_nusd=100, period="daily", soft_limit_nusd=50)


class Receiver:
    """Answers with the statuses in turn, the last one for good."""

    def __init__(self, *statuses: int) -> None:
        self.messages: list[dict[str, Any]] = []
        self.url = ""
        self._statuses = list(statuses)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Receiver"]:
        async with accepting(self._serve) as port:
            self.url = f"http://{HOST}:{port}/hook?token=7"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /hook?token=7 HTTP/1.1\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.messages.append(json.loads(body, parse_float=Decimal))
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        await writer.drain()


@pytest.fixture
def notices(stage: Stage) -> NoticeStore:
    return NoticeStore(stage.redis)


@pytest.fixture
def watch(stage: Stage, notices: NoticeStore) -> SoftLimitWatch:
    return new_watch(stage, notices)


def new_watch(stage: Stage, notices: NoticeStore) -> SoftLimitWatch:
    return SoftLimitWatch(
        notices=notices, accounts=stage.accounts, keys=KeyStore(stage.database), now=lambda: NOW
    )


def webhook(stage: Stage, notices: NoticeStore, url: str) -> Webhook:
    return Webhook(notices, webhook_client(Secret(url)), stage.metrics)


async def limit(stage: Stage, *budgets: Budget) -> None:
    await stage.accounts.update("alice", {"budgets": msgspec.to_builtins(budgets)}, NOW)


async def add_key(stage: Stage, *budgets: Budget) -> None:
    await KeyStore(stage.database).insert(
        ApiKey(
            key_id="key-1",
            user_id="alice",
            name="ci",
            prefix="sk-gw-1",
            secret_hash="h",
            budgets=budgets,
            created_at=NOW,
            updated_at=NOW,
        )
    )


def total(nusd: int) -> dict[str, list[Spent]]:
    return {"alice": [Spent(period="total", nusd=nusd)]}


async def test_a_soft_limit_is_notified_once(
    stage: Stage, notices: NoticeStore, watch: SoftLimitWatch
) -> None:
    await limit(stage, SOFT)
    await watch.check(total(999_999_999))
    assert await notices.waiting() == 0
    async with Receiver(204).serving() as receiver:
        sender = webhook(stage, notices, receiver.url)
        for nusd in (1_000_000_000, 1_500_000_001):
            await watch.check(total(nusd))
            # A worker that has just started has told nobody yet.
            await new_watch(stage, notices).check(total(nusd))
            await sender.send_all()
    assert receiver.messages == [
        {
            "type": "budget.soft_limit_reached",
            "id": "alice||total|total|1000000000",
            "user_id": "alice",
            "key_id": None,
            "period": "total",
            "current": "total",
            "ends_at": None,
            "soft_limit_usd": 1,
            "limit_usd": 2,
            "spent_usd": 1,
            "noticed_at": NOW.isoformat().replace("+00:00", "Z"),
        }
    ]
    assert await notices.waiting() == 0


async def test_each_period_key_and_new_soft_limit_is_notified(
    stage: Stage, notices: NoticeStore, watch: SoftLimitWatch
) -> None:
    today = period_key("daily", NOW)
    await limit(stage, SOFT, DAILY)
    await add_key(stage, DAILY)
    rows = [
        Spent(period="total", nusd=0),
        Spent(period=today, nusd=50),
        Spent(period="2020-01-01", nusd=50),
        Spent(key_id="key-1", period=today, nusd=60),
    ]
    await watch.check({"alice": rows, "bob": [Spent(period="total", nusd=10**12)]})
    assert await notices.waiting() == 2
    await limit(stage, Budget(limit_nusd=100, period="daily", soft_limit_nusd=49))
    await watch.check({"alice": rows})
    assert await notices.waiting() == 3


async def test_a_failed_notification_is_retried(
    stage: Stage, notices: NoticeStore, watch: SoftLimitWatch
) -> None:
    await limit(stage, SOFT)
    await watch.check(total(10**9))
    async with Receiver(500, 302, 200).serving() as receiver:
        sender = webhook(stage, notices, receiver.url)
        for count in (1, 2, 3):
            await sender.send_all()
            # Not before its time.
            await sender.send_all()
            assert len(receiver.messages) == count
            await make_due(stage)
        await sender.send_all()
    assert len(receiver.messages) == 3
    assert await notices.waiting() == 0


async def test_retries_are_bounded(
    stage: Stage, notices: NoticeStore, watch: SoftLimitWatch
) -> None:
    await limit(stage, SOFT)
    await watch.check(total(10**9))
    sender = webhook(stage, notices, f"http://{HOST}:{free_port()}/hook")
    tries = 0
    while await notices.waiting():
        await make_due(stage)
        await sender.send_all()
        tries += 1
    assert tries == 18
    await new_watch(stage, notices).check(total(10**9))
    assert await notices.waiting() == 0


async def make_due(stage: Stage) -> None:
    key = "gateway:{notices}:due"
    for name in await stage.redis.zrange(key, 0, -1):
        await stage.redis.zadd(key, {name: 0})


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "hook", "http://", "http://[", "http://x:0/", "http://x/\n", "http://é/"]
)
def test_an_invalid_url_is_rejected_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="BUDGET_WEBHOOK_URL") as refused:
        webhook_client(Secret(url))
    assert "x/y" not in str(refused.value)


async def test_the_worker_queues_notices_for_what_it_posts(
    stage: Stage, notices: NoticeStore, mongo_uri: str, redis_url: str
) -> None:
    budget = Budget(limit_nusd=10**12, period="total", soft_limit_nusd=2 * CALL_NUSD)
    await limit(stage, budget)
    url = Secret(f"http://{HOST}:1/hook")
    async with working(stage, settings_for(mongo_uri, redis_url, budget_webhook_url=url)):
        await stage.enqueue([make_event()])
        await stage.drained()
        assert await notices.waiting() == 0
        await stage.enqueue([make_event()])
        await stage.drained()

        async def is_noted() -> bool:
            return await notices.waiting() == 1

        await eventually(is_noted)
    assert count_of(stage.metrics.notices) == 0
