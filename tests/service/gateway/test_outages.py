"""While Redis is away calls go on by policy, and no event is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from libs.common.settings import Secret
from services.gateway.settings import Settings
from tests.servers import ServerProcess, redis_server, running
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, DIALECTS, TOKENS
from tests.service.gateway.stage import open_gateway
from tests.service.gateway.test_budgets import spend
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books, open_books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, to be killed."""
    (tmp_path / "redis").mkdir()
    with running(redis_server(tmp_path / "redis")) as server:
        yield server


@pytest.fixture
def settings(settings_with: SettingsWith, redis: ServerProcess, tmp_path: Path) -> Settings:
    return settings_with(redis_url=Secret(redis.url), spool_dir=str(tmp_path / "spool"))


@pytest_asyncio.fixture(loop_scope="module")
async def own_books(module_mongo_uri: str, redis: ServerProcess) -> AsyncIterator[Books]:
    async with open_books(module_mongo_uri, redis.url) as books:
        yield books


def file_count(settings: Settings) -> int:
    return len(list(Path(settings.spool_dir).glob("*.spool2")))


async def check_drained(settings: Settings, books: Books, secret: str) -> None:
    """The one event arrives, and nothing is left on disk."""

    async def is_drained() -> bool:
        return file_count(settings) == 0

    await eventually(is_drained)
    event = await books.the_event(secret)
    assert (event.status, event.usage, event.usage_source) == ("ok", TOKENS, "provider")


async def test_while_redis_is_down_calls_continue_and_events_are_spooled(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    calls = [(dialect, stream) for dialect in DIALECTS for stream in (False, True)]
    secrets = [await own_books.add_key() for _ in calls]
    before = await own_books.add_key()
    async with open_gateway(settings) as gateway:
        # Connections are open and scripts are loaded when it dies.
        upstream.answers(CHAT.answer)
        await gateway.post(CHAT.path, before, CHAT.body())
        redis.kill()
        for (dialect, stream), secret in zip(calls, secrets, strict=True):
            dialect.served_by(upstream, stream=stream)
            response = await gateway.post(dialect.path, secret, dialect.body(stream=stream))
            assert response.content == (dialect.stream if stream else dialect.answer)

        assert file_count(settings) == 1
        redis.start()
        for secret in secrets:
            await check_drained(settings, own_books, secret)
        assert (await own_books.the_event(before)).status == "ok"


async def test_redis_can_die_during_a_call(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    async def dying(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await connection.begin_stream()
        await connection.chunk(CHAT.frames[0])
        await asyncio.to_thread(redis.kill)
        for frame in CHAT.frames[1:]:
            await connection.chunk(frame)
        await connection.end_stream()

    upstream.does(dying)
    secret = await own_books.add_key()
    async with open_gateway(settings) as gateway:
        response = await gateway.post(CHAT.path, secret, CHAT.body(stream=True))

        assert response.content == CHAT.stream
        assert file_count(settings) == 1
        redis.start()
        await check_drained(settings, own_books, secret)


async def test_the_next_process_sends_the_spool_of_the_last_one(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    upstream.answers(CHAT.answer)
    secret = await own_books.add_key()
    redis.kill()
    async with open_gateway(settings) as gateway:
        assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
    redis.start()

    async with open_gateway(settings):
        await check_drained(settings, own_books, secret)


async def test_a_restarted_redis_gets_events_again(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    """It has forgotten the scripts, and every connection to it is dead."""
    upstream.answers(CHAT.answer)
    secret = await own_books.add_key()
    async with open_gateway(settings) as gateway:
        await gateway.post(CHAT.path, secret, CHAT.body())
        redis.kill()
        redis.start()

        async def is_admitted_by_redis_again() -> bool:
            response = await gateway.post(CHAT.path, secret, CHAT.body())
            assert response.status_code == 200
            return await own_books.held(secret) >= 2 * 34_000

        await eventually(is_admitted_by_redis_again)


async def test_the_policy_can_refuse_calls_without_redis(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    upstream.answers(b"{}")
    closed = msgspec.structs.replace(settings, admission_without_redis="closed")
    secret = await own_books.add_key()
    redis.kill()
    async with open_gateway(closed) as gateway:
        for dialect in DIALECTS:
            response = await gateway.post(dialect.path, secret, dialect.body())
            dialect.check_error(response, 503, "service_unavailable")
            assert "x-should-retry" not in response.headers
        redis.start()

        async def have_arrived() -> bool:
            return len(await own_books.events(secret)) == len(DIALECTS)

        await eventually(have_arrived)
    assert upstream.requests == []
    events = await own_books.events(secret)
    assert [(event.status, event.http_status) for event in events] == [("refused", 503)] * 3


async def test_without_redis_the_budget_is_checked_against_mongodb(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    user_id = await own_books.add_account(limit_usd="1", period="total")
    secret = await own_books.add_key(user_id)
    await spend(own_books, user_id, 999_900_000, datetime.now(UTC))
    redis.kill()

    async with open_gateway(settings) as gateway:
        for dialect in DIALECTS:
            dialect.served_by(upstream, stream=False)
            refused = await gateway.post(dialect.path, secret, dialect.body())
            small = {**dialect.body(), dialect.limit_field: 1}
            served = await gateway.post(dialect.path, secret, small)

            dialect.check_error(refused, 402, "budget_exceeded")
            assert served.status_code == 200


async def test_with_redis_down_and_the_disk_full_nothing_is_served(
    upstream: Upstream, own_books: Books, settings: Settings, redis: ServerProcess
) -> None:
    secret = await own_books.add_key()
    redis.kill()

    async with open_gateway(msgspec.structs.replace(settings, spool_max_bytes=1)) as gateway:
        for dialect in DIALECTS:
            dialect.served_by(upstream, stream=False)
            whole = await gateway.post(dialect.path, secret, dialect.body())
            dialect.served_by(upstream, stream=True)
            streamed = await gateway.post(dialect.path, secret, dialect.body(stream=True))

            dialect.check_error(whole, 503, "usage_not_recordable")
            assert dialect.frames[-1] not in streamed.content
            assert b"cannot record usage" in streamed.content
