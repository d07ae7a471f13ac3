"""Limits per minute as clients see them: the format's headers, served or refused."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from libs.common.schemas.account import Limits
from tests.service.gateway.dialects import CHAT, DIALECTS, Dialect
from tests.service.gateway.stage import Client
from tests.service.gateway.upstream import Upstream, UpstreamConnection, UpstreamRequest
from tests.support.books import Books

pytestmark = pytest.mark.asyncio(loop_scope="module")


def limits(response: httpx2.Response, dialect: Dialect, kind: str) -> dict[str, str]:
    """What the headers say of a limit, by `limit`, `remaining` and `reset`."""
    values = {}
    for part in ("limit", "remaining", "reset"):
        is_messages = dialect.name == "messages"
        name = f"anthropic-ratelimit-{kind}-{part}" if is_messages else f"x-ratelimit-{part}-{kind}"
        if name in response.headers:
            values[part] = response.headers[name]
    return values


def reset_s(response: httpx2.Response, dialect: Dialect, kind: str) -> float:
    reset = limits(response, dialect, kind)["reset"]
    if dialect.name == "messages":
        # To the second, as Anthropic's own.
        return (datetime.fromisoformat(reset) - datetime.now(UTC)) / timedelta(seconds=1)
    return float(reset.removesuffix("s"))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_requests_are_counted_down_and_then_refused(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    secret = await books.add_key(await books.add_account(limits=Limits(requests_per_minute=2)))
    for left in ("1", "0"):
        dialect.served_by(upstream, stream=left == "0")
        served = await gateway.post(dialect.path, secret, dialect.body(stream=left == "0"))
        assert served.status_code == 200
        assert (
            limits(served, dialect, "requests").items() >= {"limit": "2", "remaining": left}.items()
        )
        assert limits(served, dialect, "tokens") == {}
    refused = await gateway.post(dialect.path, secret, dialect.body())
    assert refused.status_code == 429
    assert limits(refused, dialect, "requests").items() >= {"limit": "2", "remaining": "0"}.items()
    wait_s = int(refused.headers["retry-after"])
    assert 50 < wait_s <= 60
    assert abs(reset_s(refused, dialect, "requests") - wait_s) < 3


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
async def test_tokens_are_counted_down_and_then_refused(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    """By what is estimated at first, and by what was used once that is known: 27."""
    account = await books.add_account()
    secret = await books.add_key(account, limits=Limits(tokens_per_minute=100))
    dialect.served_by(upstream, stream=False)
    served = await gateway.post(dialect.path, secret, dialect.body())
    assert served.status_code == 200
    assert limits(served, dialect, "tokens")["limit"] == "100"
    refused = await gateway.post(dialect.path, secret, dialect.body("word " * 50))
    assert refused.status_code == 429
    assert limits(refused, dialect, "tokens").items() >= {"limit": "100", "remaining": "73"}.items()
    assert limits(refused, dialect, "requests") == {}


async def test_an_error_of_an_admitted_call_tells_its_limits(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    async def script(_request: UpstreamRequest, connection: UpstreamConnection) -> None:
        connection.cut()

    upstream.does(script)
    secret = await books.add_key(await books.add_account(limits=Limits(requests_per_minute=2)))
    failed = await gateway.post(CHAT.path, secret, CHAT.body())
    assert failed.status_code == 502
    assert limits(failed, CHAT, "requests").items() >= {"limit": "2", "remaining": "1"}.items()


async def test_parallel_limits_have_no_reset_time(gateway: Client, books: Books) -> None:
    secret = await books.add_key(await books.add_account(limits=Limits(parallel_calls=0)))
    refused = await gateway.post(CHAT.path, secret, CHAT.body())
    assert refused.status_code == 429
    assert not [name for name in refused.headers if "ratelimit" in name]
