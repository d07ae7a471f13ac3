"""A load generator that is cheaper than what it measures: raw asyncio streams and httptools.

Run as its own process (`python -m bench.load`), so that its CPU time is not the system's.
"""

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

# A system that hangs ends the run instead of holding it up.
_LIMIT_S = 120.0
# Until the first request of a rate is due: the time to connect.
_LEAD_S = 0.2


class LoadJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, and how much of it: `requests` in all, `concurrency` at a time.

    `api_keys` are taken in turn; without any, all calls are those of `api_key`. With `per_s`,
    requests are due at that rate, whatever the answers take; a late one's latency counts from then.
    """

    url: str
    api_key: str
    body: str
    concurrency: int
    requests: int
    api_keys: list[str] = []
    per_s: float | None = None


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in seconds; `cpu_s` is the load generator's own."""

    latencies_s: list[float]
    elapsed_s: float
    cpu_s: float


class _Connection(asyncio.Protocol):
    """One keep-alive connection: sends the next request once it is due and an answer complete."""

    def __init__(
        self, requests: Iterator[bytes], due_s: Iterator[float | None], latencies_s: list[float]
    ) -> None:
        """`due_s`: when each request is due, by perf_counter; None: at once."""
        self._requests = requests
        self._due_s = due_s
        self._latencies_s = latencies_s
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one in all but its base class.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._latencies_s.append(perf_counter() - self._sent_at)
        if self._parser.get_status_code() != 200 and not self.done.done():
            status = self._parser.get_status_code()
            self.done.set_exception(RuntimeError(f"the server answered {status}"))
            return
        self._next()

    def _next(self) -> None:
        try:
            due_s = next(self._due_s)
        except StopIteration:
            if not self.done.done():
                self.done.set_result(None)
            return
        now_s = perf_counter()
        self._sent_at = now_s if due_s is None else due_s
        if due_s is None or due_s <= now_s:
            self._send()
        else:
            asyncio.get_running_loop().call_later(due_s - now_s, self._send)

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(next(self._requests))


async def run(job: LoadJob) -> LoadResult:
    """Raises where an answer is not a 200: a benchmark of errors says nothing."""
    url = urlsplit(job.url)
    if url.hostname is None or url.port is None:
        raise ValueError(f"{job.url} names no host and port")
    host, port = url.hostname, url.port
    requests = itertools.cycle(
        (
            f"POST {url.path} HTTP/1.1\r\nhost: {url.netloc}\r\n"
            f"authorization: Bearer {api_key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(job.body)}\r\n\r\n{job.body}"
        ).encode()
        for api_key in job.api_keys or [job.api_key]
    )
    latencies_s: list[float] = []
    loop = asyncio.get_running_loop()
    start_s, cpu = perf_counter(), sum(os.times()[:2])
    first_s = start_s + _LEAD_S
    due_s = iter(
        [None if job.per_s is None else first_s + n / job.per_s for n in range(job.requests)]
    )
    connections: Sequence[_Connection] = [
        (
            await loop.create_connection(
                lambda: _Connection(requests, due_s, latencies_s), host, port
            )
        )[1]
        for _ in range(job.concurrency)
    ]
    async with asyncio.timeout(_LIMIT_S):
        await asyncio.gather(*(connection.done for connection in connections))
    return LoadResult(
        latencies_s=latencies_s,
        elapsed_s=perf_counter() - start_s,
        cpu_s=sum(os.times()[:2]) - cpu,
    )


def run_job(job: LoadJob) -> LoadResult:
    """In a process of its own."""
    command = [sys.executable, "-m", "bench.load", msgspec.json.encode(job).decode()]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return msgspec.json.decode(output, type=LoadResult)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="a LoadJob as JSON")
    job = msgspec.json.decode(parser.parse_args().job, type=LoadJob)
    result = msgspec.json.encode(uvloop.run(run(job)))
    # Buffered even if Python's own output is not: a raw write that is interrupted ends early.
    with open(1, "wb", closefd=False) as output:
        output.write(result)


if __name__ == "__main__":
    main()
