"""Bodies that are still arriving: what needs no body is checked before it, and it has an end."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
import pytest_asyncio

from libs.common.schemas.account import Limits
from services.gateway.endpoints.parts import Parts
from services.gateway.settings import Settings
from services.gateway.spool.backlog import Metered
from services.gateway.state import State
from services.gateway.usage.meter import Meter
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, Dialect
from tests.service.gateway.process import gateway_process
from tests.service.gateway.stage import Client, open_gateway, with_parts
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books
from tests.support.polling import PATIENCE_S, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PART = 100_000


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Upload:
    """A request whose body is sent part by part."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, part: bytes) -> None:
        self._writer.write(part)
        await self._writer.drain()

    def abandon(self) -> None:
        self._writer.close()

    async def answer(self) -> Response:
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode().strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self._reader.readexactly(int(headers["content-length"]))
        return Response(int(status.split(" ")[1]), headers, body)

    async def closed(self) -> None:
        """Returns once the gateway has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._reader.read(1024):
                pass


@asynccontextmanager
async def uploading(
    client: Client, dialect: Dialect, secret: str, size: int
) -> AsyncIterator[Upload]:
    """The head of a request is sent, which announces so many bytes."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = (
        f"POST {dialect.path} HTTP/1.1\r\nhost: x\r\nx-api-key: {secret}\r\n"
        f"content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    try:
        writer.write(head.encode())
        yield Upload(reader, writer)
    finally:
        writer.close()


async def event_code(books: Books, secret: str) -> tuple[str, int, str | None]:
    async def has_come() -> bool:
        return bool(await books.events(secret))

    await eventually(has_come)
    event = await books.the_event(secret)
    return event.status, event.http_status, event.error_code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roomy(settings_with: SettingsWith) -> AsyncIterator[Client]:
    """Its bodies may be large, but not together, and must not pause."""
    settings = settings_with(
        max_body_bytes=1_000_000, max_bodies_bytes=1_000_000, account_share_percent=30
    )
    async with open_gateway(settings) as client:
        yield client


async def test_a_body_in_parts_is_served(
    roomy: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    dialect.served_by(upstream, stream=False)
    secret = await books.add_key()
    body = json.dumps(dialect.body("word " * _PART)).encode()
    async with uploading(roomy, dialect, secret, len(body)) as upload:
        for start in range(0, len(body), _PART):
            await upload.send(body[start : start + _PART])
        response = await upload.answer()
    assert (response.status, response.body) == (200, dialect.answer)
    assert (await books.the_event(secret)).status == "ok"


async def test_an_exhausted_budget_is_refused_before_the_body(
    roomy: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    dialect.served_by(upstream, stream=False)
    secret = await books.add_key(await books.add_account(limit_usd="0"))
    async with uploading(roomy, dialect, secret, _PART) as upload:
        await upload.send(b'{"model": ')
        response = await upload.answer()
    expected = 402 if dialect.name == "messages" else 429
    assert response.status == expected
    assert response.headers["x-should-retry"] == "false"
    assert await event_code(books, secret) == ("refused", expected, "budget_exceeded")
    assert upstream.requests == []


@pytest.mark.parametrize("of_key", [False, True])
async def test_unfinished_bodies_count_as_requests(
    roomy: Client, books: Books, of_key: bool
) -> None:
    limits = Limits(requests_per_minute=1)
    account = await books.add_account(limits=Limits() if of_key else limits)
    secret = await books.add_key(account, limits=limits if of_key else Limits())
    async with uploading(roomy, CHAT, secret, _PART) as first:
        await first.send(b'{"model": ')
        await arriving(roomy, 1)
        async with uploading(roomy, CHAT, secret, _PART) as second:
            await second.send(b'{"model": ')
            response = await second.answer()
    assert response.status == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert json.loads(response.body)["error"]["code"] == "rate_limit_exceeded"


async def test_an_unfinished_token_count_is_not_a_call(
    roomy: Client, upstream: Upstream, books: Books
) -> None:
    MESSAGES.served_by(upstream, stream=False)
    counting = msgspec.structs.replace(MESSAGES, path="/v1/messages/count_tokens")
    secret = await books.add_key(await books.add_account(limits=Limits(requests_per_minute=1)))
    body = json.dumps(MESSAGES.body()).encode()
    async with (
        uploading(roomy, counting, secret, _PART) as count,
        uploading(roomy, MESSAGES, secret, len(body)) as call,
    ):
        await count.send(body[:10])
        await arriving(roomy, 1)
        await call.send(body[:10])
        await arriving(roomy, 2)
        await call.send(body[10:])
        assert (await call.answer()).status == 200


async def test_an_exhausted_rate_limit_is_refused_before_the_body(
    roomy: Client, upstream: Upstream, books: Books
) -> None:
    CHAT.served_by(upstream, stream=False)
    secret = await books.add_key(await books.add_account(limits=Limits(requests_per_minute=1)))
    assert (await roomy.post(CHAT.path, secret, CHAT.body())).status_code == 200
    async with uploading(roomy, CHAT, secret, _PART) as upload:
        await upload.send(b'{"model": ')
        response = await upload.answer()
    assert response.status == 429
    assert 50 < int(response.headers["retry-after"]) <= 60


async def test_too_many_parallel_calls_are_refused_before_the_body(
    roomy: Client, books: Books
) -> None:
    secret = await books.add_key(await books.add_account(limits=Limits(parallel_calls=0)))
    async with uploading(roomy, CHAT, secret, _PART) as upload:
        await upload.send(b'{"model": ')
        response = await upload.answer()
    assert response.status == 429
    assert b"calls at a time" in response.body


async def test_the_bodies_of_an_account_are_bounded_together(
    roomy: Client, upstream: Upstream, books: Books
) -> None:
    """Two of 200 kB are more than 30 % of 1 MB; the first one goes on."""
    CHAT.served_by(upstream, stream=False)
    account = await books.add_account()
    one, two = [await books.add_key(account) for _ in range(2)]
    body = json.dumps(CHAT.body("x" * 200_000)).encode()
    async with uploading(roomy, CHAT, one, len(body)) as first:
        await first.send(body[:150_000])
        await bytes_counted(roomy, 150_000)
        async with uploading(roomy, CHAT, two, len(body)) as second:
            await second.send(body[:10])
            refused = await second.answer()
        assert refused.status == 429
        assert refused.headers["retry-after"] == "2"
        assert json.loads(refused.body)["error"]["code"] == "request_memory_exceeded"
        await first.send(body[150_000:])
        assert (await first.answer()).status == 200
    await bytes_counted(roomy, 0)


async def test_a_body_counts_with_its_copies_during_its_call(
    roomy: Client, upstream: Upstream, books: Books
) -> None:
    go_on = asyncio.Event()

    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        await go_on.wait()
        await connection.answer(CHAT.answer)

    upstream.does(script)
    body = json.dumps(CHAT.body("x" * 200_000)).encode()
    call = asyncio.create_task(roomy.post(CHAT.path, await books.add_key(), body))
    await bytes_counted(roomy, 2 * len(body))
    go_on.set()
    assert (await call).status_code == 200
    await bytes_counted(roomy, 0)


async def test_a_stalled_body_is_a_408_and_closes_its_connection(
    settings_with: SettingsWith, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key()
    async with (
        open_gateway(settings_with(body_timeout_s=1)) as client,
        uploading(client, dialect, secret, _PART) as upload,
    ):
        await upload.send(b'{"model": ')
        response = await upload.answer()
        await upload.closed()
    assert response.status == 408
    assert response.headers["connection"] == "close"
    error = json.loads(response.body)["error"]
    assert error.get("code", error["type"]) in ("request_timeout", "timeout_error")
    assert await event_code(books, secret) == ("refused", 408, "request_timeout")


class _Refusing:
    """A meter that keeps refusals waiting until they may go on."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.is_asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def enqueue(self, metered: Metered) -> None:
        if metered.event.status == "refused":
            self.is_asked.set()
            async with asyncio.timeout(PATIENCE_S):
                await self.go_on.wait()
        await self._meter.enqueue(metered)

    def enqueue_nowait(self, metered: Metered) -> None:
        self._meter.enqueue_nowait(metered)

    def require_writable(self, user_id: str) -> None:
        self._meter.require_writable(user_id)


async def test_a_refused_body_occupies_no_slot(
    settings_with: SettingsWith, upstream: Upstream, books: Books
) -> None:
    meters: list[_Refusing] = []

    def with_meter(gateway: Parts, _state: State, _settings: Settings) -> dict[str, Any]:
        meters.append(_Refusing(gateway.meter))
        return {"meter": meters[0]}

    CHAT.served_by(upstream, stream=False)
    secret = await books.add_key(await books.add_account(limits=Limits(requests_per_minute=1)))
    body = json.dumps(CHAT.body()).encode()
    async with (
        open_gateway(settings_with(), with_parts(with_meter)) as client,
        uploading(client, CHAT, secret, _PART) as first,
    ):
        await first.send(b'{"model": ')
        await arriving(client, 1)
        async with uploading(client, CHAT, secret, _PART) as second:
            await second.send(b'{"model": ')
            async with asyncio.timeout(PATIENCE_S):
                await meters[0].is_asked.wait()
            first.abandon()
            await arriving(client, 0)
            async with uploading(client, CHAT, secret, len(body)) as third:
                await third.send(body[:10])
                await arriving(client, 1)
                await third.send(body[10:])
                assert (await third.answer()).status == 200
            meters[0].go_on.set()
            assert (await second.answer()).status == 429


class _Busy(ThreadPoolExecutor):
    """It says when it is given something to do, and does it later."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.is_asked, self.go_on = asyncio.Event(), threading.Event()
        super().submit(self.go_on.wait, PATIENCE_S)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.is_asked.set()
        return super().submit(*args, **kwargs)

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        self.go_on.set()
        super().shutdown(*args, **kwargs)


async def test_others_are_served_while_a_large_body_is_decoded(
    settings_with: SettingsWith, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    dialect.served_by(upstream, stream=False)
    secret = await books.add_key()
    with _Busy() as busy:
        async with open_gateway(
            settings_with(), with_parts(lambda *_: {"decoding": busy})
        ) as client:
            large = dialect.body("word " * _PART)
            call = asyncio.create_task(client.post(dialect.path, secret, large))
            async with asyncio.timeout(PATIENCE_S):
                await busy.is_asked.wait()
            response = await client.post(dialect.path, secret, dialect.body())
            assert (response.status_code, call.done()) == (200, False)
            busy.go_on.set()
            assert (await call).status_code == 200


async def test_memory_is_bounded_under_many_unfinished_bodies(
    settings_with: SettingsWith, books: Books, tmp_path: Path
) -> None:
    """40 of 6 MB are sent but for their last byte; two fit into the share of an account."""
    account = await books.add_account()
    secret = await books.add_key(account)
    size = 6_000_000
    settings = settings_with(
        max_body_bytes=size, max_bodies_bytes=5 * size, account_share_percent=50
    )
    async with (
        gateway_process(settings, tmp_path / "log") as (process, client),
        AsyncExitStack() as stack,
    ):
        memory = psutil.Process(process.pid).memory_info
        before = memory().rss
        uploads = [
            await stack.enter_async_context(uploading(client, CHAT, secret, size))
            for _ in range(40)
        ]
        statuses: Counter[int] = Counter()

        async def send(upload: Upload) -> None:
            for _ in range((size - 1) // _PART):
                await upload.send(b" " * _PART)

        async def count(upload: Upload) -> None:
            statuses[(await upload.answer()).status] += 1

        async with asyncio.timeout(PATIENCE_S):
            answers = [asyncio.create_task(count(upload)) for upload in uploads]
            await asyncio.gather(*map(send, uploads))
            await asyncio.wait(answers, timeout=PATIENCE_S, return_when="FIRST_COMPLETED")

            async def all_others_are_refused() -> bool:
                return statuses[429] >= 38

            await eventually(all_others_are_refused)
        assert set(statuses) == {429}
        body_bytes = await metric(client, "gateway_bodies_bytes")
        assert 0 < body_bytes <= 2.5 * size
        assert memory().rss - before < 10 * size
        for answer in answers:
            answer.cancel()
        await asyncio.wait(answers)


async def metric(client: Client, name: str) -> float:
    page = (await client.http.get("/metrics")).text
    return next(float(row.split(" ")[1]) for row in page.splitlines() if row.startswith(name + " "))


async def arriving(client: Client, count: int) -> None:
    async def are_there() -> bool:
        return await metric(client, "gateway_bodies_arriving") == count

    await eventually(are_there)


async def bytes_counted(client: Client, count: int) -> None:
    async def are_there() -> bool:
        return await metric(client, "gateway_bodies_bytes") == count

    await eventually(are_there)
