"""Redis is away and the disk is full, in the middle of calls: each of them is still recorded."""

import asyncio
import base64
import os
import re
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.e2e.callers import Caller, body, call, new_caller, session, set_price
from tests.e2e.conftest import NewStack
from tests.support.polling import eventually_in_thread

SETTINGS = {
    "HOLD_LEASE_S": "10",
    "WORKER_SWEEP_S": "1",
    "WORKER_JOB_TIMEOUT_S": "5",
    "SHUTDOWN_GRACE_S": "2",
}
STREAMS = 10
SLOW = body("output_tokens=40 chunks=20 chunk_delay_ms=100", stream=True)
DONE = b"data: [DONE]"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Its spool has no room for anything."""
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"),
        {**without_settings(os.environ), **SETTINGS, "SPOOL_MAX_BYTES": "1"},
        free_ports=True,
    )
    try:
        stack.start()
        set_price(stack)
        yield stack
    finally:
        stack.stop()


class Stream:
    """One under way: its call's id, and what has come of it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.call_id = response.headers["x-request-id"]
        self.received = b""
        self._response = response

    async def read(self) -> None:
        try:
            async for chunk in self._response.content.iter_any():
                self.received += chunk
        except aiohttp.ClientError:
            # Its gateway was killed.
            pass


@asynccontextmanager
async def streams_without_redis(caller: Caller) -> AsyncIterator[list[Stream]]:
    """Streams that Redis has admitted, and which lose it; they are read to their end."""
    stack = caller.stack
    url = f"{stack.url('gateway')}/v1/chat/completions"
    async with session(caller) as http:
        responses = await asyncio.gather(*(http.post(url, json=SLOW) for _ in range(STREAMS)))
        assert [response.status for response in responses] == [200] * STREAMS
        streams = [Stream(response) for response in responses]
        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(stream.read())
            await asyncio.to_thread(stack.kill, "redis")
            yield streams


def waiting_in_memory(stack: LocalStack) -> int:
    status, answer = StackClient(stack.url("gateway"), "").call("GET", "/ready")
    assert status == 503
    match = re.match(r"NotDurable: (\d+) usage events", answer["checks"]["usage"])
    return int(match.group(1)) if match else 0


def entries_by_id(caller: Caller) -> dict[str, str]:
    """The status of each call's entry; corrections by what they correct."""
    entries = caller.entries()
    calls = {entry["_id"]: entry["status"] for entry in entries if entry["kind"] == "call"}
    late = {entry["corrects"]: "late" for entry in entries if entry["kind"] == "late_event"}
    return calls | late


async def come_to(caller: Caller, ids: Sequence[str], *statuses: str) -> None:
    """Each call has one entry, and these are their statuses."""

    def have() -> bool:
        entries = entries_by_id(caller)
        return sorted(entries) == sorted(ids) and set(entries.values()) <= set(statuses)

    await eventually_in_thread(have)
    await eventually_in_thread(caller.holds_nothing)
    await eventually_in_thread(caller.ledger_is_right)


async def test_a_stream_ends_when_its_event_is_durable(stack: LocalStack) -> None:
    caller = await asyncio.to_thread(new_caller, stack, "patient", 10)
    try:
        async with streams_without_redis(caller) as streams:
            await eventually_in_thread(lambda: waiting_in_memory(stack) == STREAMS)
            assert not any(DONE in stream.received for stream in streams)
            async with session(caller) as http:
                status, call_id, _ = await call(http, stack.url("gateway"), body("output_tokens=1"))
            assert status == 503
            await asyncio.to_thread(stack.start_process, "redis")
    finally:
        await asyncio.to_thread(stack.start_process, "redis")
    assert all(DONE in stream.received for stream in streams)
    ids = [stream.call_id for stream in streams]
    assert call_id not in ids
    # A lease may have ended while Redis was away: then the call was given up, and mended.
    await come_to(caller, ids, "ok", "late")


async def test_calls_in_memory_of_a_killed_gateway_are_abandoned(stack: LocalStack) -> None:
    caller = await asyncio.to_thread(new_caller, stack, "killed", 10)
    try:
        async with streams_without_redis(caller) as streams:
            await eventually_in_thread(lambda: waiting_in_memory(stack) == STREAMS)
            await asyncio.to_thread(stack.kill, "gateway")
    finally:
        await asyncio.to_thread(stack.start_process, "redis")
        await asyncio.to_thread(stack.start_process, "gateway")
    assert not any(DONE in stream.received for stream in streams)
    await come_to(caller, [stream.call_id for stream in streams], "abandoned")


async def test_events_in_memory_of_a_stopped_gateway_are_logged(
    stack: LocalStack, tmp_path: Path
) -> None:
    """And is posted once that is put into a spool."""
    caller = await asyncio.to_thread(new_caller, stack, "stopped", 10)
    try:
        async with streams_without_redis(caller) as streams:
            await eventually_in_thread(lambda: waiting_in_memory(stack) == STREAMS)
            assert await asyncio.to_thread(stack.terminate, "gateway")
    finally:
        await asyncio.to_thread(stack.start_process, "redis")
    lost_records = re.findall(r"usage\.lost.*?record=(\S+)", stack.log("gateway"))
    assert len(lost_records) == STREAMS
    ids = [stream.call_id for stream in streams]
    await come_to(caller, ids, "abandoned")

    spool = stack.directory / "data" / "spool" / "gateway"
    records = b"".join(base64.b64decode(record) for record in lost_records)
    (spool / "recovered.spool").write_bytes(records)
    await asyncio.to_thread(stack.start_process, "gateway")
    await come_to(caller, ids, "late")
    assert sum(entry["cost_nusd"] for entry in caller.entries()) > 0


async def test_a_full_disk_still_takes_the_events_of_open_calls(
    new_stack: NewStack,
) -> None:
    stack = new_stack(SETTINGS)
    set_price(stack)
    caller = await asyncio.to_thread(new_caller, stack, "full-disk", 100)
    pid = stack.pid("gateway")
    assert pid is not None
    served_ids: list[str] = []
    try:
        async with streams_without_redis(caller) as streams, session(caller) as http:
            fill_disk(stack, pid)
            while True:
                status, call_id, _ = await call(http, stack.url("gateway"), body("output_tokens=1"))
                if status == 503:
                    break
                served_ids.append(call_id)
                assert len(served_ids) < 5_000
        assert all(DONE in stream.received for stream in streams)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, resource.getrlimit(resource.RLIMIT_FSIZE))
        await asyncio.to_thread(stack.start_process, "redis")
    assert served_ids
    await come_to(caller, [*served_ids, *(stream.call_id for stream in streams)], "ok", "late")
    assert "usage.not_durable" not in stack.log("gateway")


def fill_disk(stack: LocalStack, pid: int) -> None:
    """From here on the gateway's files cannot grow."""
    spool = stack.directory / "data" / "spool" / "gateway"
    size = max(path.stat().st_size for path in spool.iterdir())
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
