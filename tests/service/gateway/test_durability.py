"""The last byte waits until the usage event is durable."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.errors import AnswerWithheld
from services.gateway.app import create_app
from services.gateway.spool.backlog import Metered
from services.gateway.usage.meter import Meter
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import Dialect
from tests.service.gateway.stage import Client, connected, open_gateway, with_parts
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books
from tests.support.sockets import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMMITTED = "committed"


class LoggedMeter:
    """The real one; says when it is done."""

    def __init__(self, meter: Meter, log: list[Any]) -> None:
        self._meter = meter
        self._log = log

    async def enqueue(self, metered: Metered) -> None:
        await self._meter.enqueue(metered)
        self._log.append(COMMITTED)

    def require_writable(self, user_id: str) -> None:
        self._meter.require_writable(user_id)


class BrokenMeter:
    """Neither Redis nor the disk takes anything, for longer than a client waits."""

    async def enqueue(self, metered: Metered) -> None:
        raise AnswerWithheld("The gateway cannot record usage.")

    def require_writable(self, user_id: str) -> None:
        """Nobody knows of it yet."""


def logged(app: ASGIApp, log: list[Any]) -> ASGIApp:
    """The application, with all that it sends put into the log."""

    async def logging(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_logged(message: Message) -> None:
            if scope["type"] == "http":
                log.append(message)
            await send(message)

        await app(scope, receive, send_logged)

    return logging


@pytest.fixture(scope="module")
def log() -> list[Any]:
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def logged_gateway(settings_with: SettingsWith, log: list[Any]) -> AsyncIterator[Client]:
    """Writes into the log what it sends, and when it has committed."""
    factory = with_parts(lambda gateway, *_: {"meter": LoggedMeter(gateway.meter, log)})
    app = logged(create_app(settings_with(), factory), log)
    async with serving(app) as url, connected(url) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken_gateway(settings_with: SettingsWith) -> AsyncIterator[Client]:
    factory = with_parts(lambda *_: {"meter": BrokenMeter()})
    async with open_gateway(settings_with(), factory) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_last_byte_is_sent_after_the_commit(
    logged_gateway: Client,
    log: list[Any],
    upstream: Upstream,
    books: Books,
    dialect: Dialect,
    stream: bool,
) -> None:
    dialect.served_by(upstream, stream=stream)
    secret = await books.add_key()
    log.clear()

    response = await logged_gateway.post(dialect.path, secret, dialect.body(stream=stream))

    assert response.content == (dialect.stream if stream else dialect.answer)
    committed = log.index(COMMITTED)
    before, after = log[:committed], log[committed + 1 :]
    if stream:
        sent = b"".join(message.get("body", b"") for message in before)
        assert sent == b"".join(dialect.frames[:-1])
        assert [message["body"] for message in after] == [dialect.frames[-1]]
    else:
        assert before == []
        kinds = [message["type"] for message in after]
        assert kinds == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_that_cannot_be_recorded_is_not_served(
    broken_gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, stream: bool
) -> None:
    dialect.served_by(upstream, stream=stream)
    secret = await books.add_key()

    response = await broken_gateway.post(dialect.path, secret, dialect.body(stream=stream))

    if stream:
        assert response.content.startswith(b"".join(dialect.frames[:-1]))
        assert dialect.frames[-1] not in response.content
        assert b"cannot record usage" in response.content
    else:
        dialect.check_error(response, 503, "answer_withheld")
