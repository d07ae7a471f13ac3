"""What each hand-written piece of infrastructure buys, beside what a library does in its place.

`make bench-pieces` prints a line for each; docs/adr/0013 says what follows from them. A Redis
server with a sync for each write and the scripted provider run beside it. CPU time is this
process' own, so that neither the servers nor what else the machine does count.
"""

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import aiohttp
import msgspec
import uvicorn
import uvloop
from arq import ArqRedis
from httptools import HttpRequestParser
from starlette.responses import Response
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from libs.common.breaker import Breaker
from libs.common.cache import LoadingCache
from libs.common.errors import AppError
from libs.common.group_commit import GroupCommit
from libs.common.storage.queue.event_queue import encode_job, enqueue_payload, queues_of
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.pipelining import Pipelined, Transaction
from libs.common.storage.redis.shards import ONE
from libs.common.web.bounded_http import BOUNDS, bounded_protocol
from services.gateway.spool.spool import Spool
from services.gateway.upstream.http.client import RequestTimeouts, UpstreamClient
from services.gateway.upstream.http.connections import Connector
from tests.servers import redis_server, running

_ROUNDS = 5
_CONCURRENCIES = (1, 16, 64)
_CALLS = 4_000
_EVENT = b"x" * 600
_BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello."}]}'
_TIMEOUTS = RequestTimeouts(connect_s=5, between_bytes_s=5, first_byte_s=5, total_s=30)
_GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nuser-agent: bench\r\naccept: */*\r\n\r\n"

Verb = Callable[[], Awaitable[object]]


async def _cpu_us(verb: Verb, concurrency: int, calls: int) -> tuple[float, float]:
    """CPU time and p50 of a call, both in µs."""
    latencies: list[float] = []

    async def call_some() -> None:
        for _ in range(calls // concurrency):
            start_s = perf_counter()
            await verb()
            latencies.append(perf_counter() - start_s)

    cpu = process_time()
    await asyncio.gather(*(call_some() for _ in range(concurrency)))
    return (process_time() - cpu) / len(latencies) * 1e6, median(latencies) * 1e6


async def _compare(title: str, verbs: dict[str, Verb], calls: int = _CALLS) -> None:
    """Interleaved rounds; medians of them."""
    print(f"\n{title}: CPU µs a call · p50 µs, at {', '.join(map(str, _CONCURRENCIES))} at a time")
    for verb in verbs.values():
        await _cpu_us(verb, 16, calls // 10)
    rows: dict[str, list[str]] = {name: [] for name in verbs}
    for concurrency in _CONCURRENCIES:
        count = calls // 4 if concurrency == 1 else calls
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in verbs}
        for _ in range(_ROUNDS):
            for name, verb in verbs.items():
                costs[name].append(await _cpu_us(verb, concurrency, count))
        for name, rounds in costs.items():
            cpu, p50 = (median(column) for column in zip(*rounds, strict=True))
            rows[name].append(f"{cpu:6.0f} · {p50:6.0f}")
    for name, cells in rows.items():
        print(f"  {name:<34}" + "   ".join(cells))


async def _redis(redis: Redis) -> None:
    pipelined = Pipelined(redis)

    async def shared() -> None:
        await pipelined.run("GET", "bench")

    await _compare("A command to Redis", {"redis-py": lambda: redis.get("bench"), "ours": shared})

    arq = ArqRedis(redis.connection_pool, job_serializer=encode_job)

    async def write(events: list[bytes]) -> list[None]:
        transaction = Transaction()
        job_id = msgspec.json.encode(perf_counter()).decode()
        enqueue_payload(transaction, queues_of(ONE)[0], "events.post", job_id, b"".join(events))
        await pipelined.transact(transaction)
        return [None] * len(events)

    commits: GroupCommit[bytes, None] = GroupCommit(
        lambda events: write(list(events)), max_items=200, max_waiting=10_000
    )
    await _compare(
        "An event into the queue, synced to disk",
        {
            "arq's enqueue_job": lambda: arq.enqueue_job("events.post", _EVENT),
            "one transaction an event": lambda: write([_EVENT]),
            "group commit": lambda: commits.commit(_EVENT),
        },
        calls=_CALLS // 2,
    )
    await redis.flushdb()


async def _http(url: str) -> None:
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    address = f"{url}/v1/chat/completions"
    connector = Connector(limit=1000)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000)) as session,
        connector,
    ):
        client = UpstreamClient(connector)

        async def library() -> None:
            async with session.post(address, data=_BODY, headers=headers) as answer:
                await answer.read()

        async def ours() -> None:
            answer = await client.request("POST", address, raw, _BODY, _TIMEOUTS)
            while await answer.read():
                pass
            answer.release()

        await _compare("A JSON call to a provider", {"aiohttp": library, "ours": ours})


async def _spool(directory: Path) -> None:
    spool = Spool(directory / "spool", max_bytes=2**30)
    spool.open()
    base = sqlite3.connect(directory / "events.db", check_same_thread=False, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, record BLOB)")
    lock = asyncio.Lock()

    async def sqlite() -> None:
        async with lock:
            insert = "INSERT INTO events (record) VALUES (?)"
            await asyncio.to_thread(base.execute, insert, (_EVENT,))

    verbs: dict[str, Verb] = {"sqlite3, WAL, FULL": sqlite, "ours": lambda: spool.append(_EVENT)}
    await _compare("A record on disk, synced", verbs, calls=1_000)
    base.close()
    spool.close()


async def _in_memory() -> None:
    async def load(key: str) -> str:
        return key

    cache: LoadingCache[str] = LoadingCache(load, max_items=1000, ttl_s=3600, negative_ttl_s=5)
    breaker = Breaker(1.0)
    await cache.get("bench")
    print("\nIn memory")
    for name, times in (("cache hit", 200_000), ("breaker.allows()", 500_000)):
        costs = []
        for _ in range(_ROUNDS):
            cpu = process_time()
            if name == "cache hit":
                for _ in range(times):
                    await cache.get("bench")
            else:
                for _ in range(times):
                    breaker.allows()
            costs.append((process_time() - cpu) / times * 1e9)
        print(f"  {name:<34}{median(costs):6.0f} ns")


class _Sink(asyncio.Transport):
    """A connection whose client is this benchmark."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def _refuse(_path: str, error: AppError) -> Response:
    return Response(str(error), error.status)


class _Fields:
    """The parser puts a field together only for somebody who asks for it."""

    def on_header(self, name: bytes, value: bytes) -> None: ...


async def _protocols() -> None:
    answer: ASGIApp = Response(b"{}", media_type="application/json")
    config = uvicorn.Config(answer, log_config=None, access_log=False, server_header=False)
    config.load()
    bounded = bounded_protocol(BOUNDS, _refuse, 60.0)
    kinds: dict[str, Callable[..., Any]] = {
        "uvicorn's httptools": HttpToolsProtocol,
        "uvicorn's h11": H11Protocol,
        "ours": bounded,
    }
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(_ROUNDS):
        for name, kind in kinds.items():
            protocol = kind(config=config, server_state=ServerState(), app_state={})
            protocol.connection_made(_Sink())
            cpu = process_time()
            for _ in range(_CALLS):
                protocol.data_received(_GET)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            costs[name].append((process_time() - cpu) / _CALLS * 1e6)
            protocol.connection_lost(None)
    print("\nA request through the server's protocol, and a minimal answer: CPU µs")
    for name, kind_costs in costs.items():
        print(f"  {name:<34}{median(kind_costs):6.1f}")
    print("\nA header field that does not end, in pieces of 1 KiB: CPU ms in the parser alone")
    for kib in (64, 256, 1024):
        parser = HttpRequestParser(_Fields())
        parser.feed_data(b"GET / HTTP/1.1\r\nx: ")
        cpu = process_time()
        for _ in range(kib):
            parser.feed_data(b"a" * 1024)
        print(f"  {kib:5} KiB{(process_time() - cpu) * 1e3:10.1f}")


@contextmanager
def _provider() -> Iterator[str]:
    command = [sys.executable, "-m", "deploy.local.provider", "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


async def _all(redis_url: str, provider_url: str, directory: Path) -> None:
    async with open_redis(redis_url) as redis:
        await _redis(redis)
    await _http(provider_url)
    await _spool(directory)
    await _in_memory()
    await _protocols()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        with running(redis_server(directory)) as redis, _provider() as provider_url:
            uvloop.run(_all(redis.url, provider_url, directory))


if __name__ == "__main__":
    main()
