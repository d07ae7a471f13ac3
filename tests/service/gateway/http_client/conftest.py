"""The client of providers on both event loops, and what must be left of it after each test."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from services.gateway.upstream.http.client import UpstreamClient, UpstreamResponse
from services.gateway.upstream.http.connections import Connector

_LIMIT = 2


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Services run on uvloop, whose transports are not those of asyncio."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest_asyncio.fixture
async def connector() -> AsyncIterator[Connector]:
    """Two connections at most, so that a test which needs a third in vain has lost two."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    before = asyncio.all_tasks()
    # Only what the test leaves is looked through.
    gc.freeze()
    connector = Connector(limit=_LIMIT)
    async with connector:
        yield connector
        assert not connector._acquired, "a connection is still in use"
    gc.collect()
    responses = [thing for thing in gc.get_objects() if type(thing) is UpstreamResponse]
    gc.unfreeze()
    assert not responses, "something keeps a response, as a timer would"
    left = {task for task in asyncio.all_tasks() - before if "_write" in repr(task.get_coro())}
    assert not left, "something is still being sent"
    assert not faults, "a task or a connection was given up without a word"


@pytest_asyncio.fixture
async def client(connector: Connector) -> UpstreamClient:
    return UpstreamClient(connector)
