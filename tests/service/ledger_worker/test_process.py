"""The worker as a process: started, asked, told to stop, and killed."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.local.children import tied
from deploy.local.environment import ROOT, without_settings
from libs.common.schemas.holds import Spent
from libs.common.storage.mongo import rollup_segments
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.segment_documents import UNROLLED
from libs.common.storage.queue.event_queue import QUEUE
from tests.servers import free_port, mongo_server, redis_server, running
from tests.service.ledger_worker.worker_stage import (
    CALL_NUSD,
    Stage,
    altered,
    make_event,
    make_events,
    open_stage,
)
from tests.support.polling import eventually
from tests.unit.builders import entry

COMMAND = (sys.executable, "-m", "services.ledger_worker")
# The time after which a killed worker's jobs are taken up again.
JOB_TIMEOUT_S = 1


def environment(mongo_uri: str, redis_url: str, **changes: str) -> dict[str, str]:
    values = {
        **without_settings(os.environ),
        "MONGO_URI": mongo_uri,
        "REDIS_URL": redis_url,
        "LOG_FORMAT": "console",
        "WORKER_NAME": "process",
        "WORKER_MAX_JOBS": "8",
        "WORKER_JOB_TIMEOUT_S": str(JOB_TIMEOUT_S),
        "WORKER_METRICS_PORT": "0",
    }
    return values | changes


class WorkerProcess:
    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    def log(self) -> str:
        return self._log.read_text()

    async def says(self, text: str) -> None:
        async def has_line() -> bool:
            assert self._process.returncode is None, self.log()
            return text in self.log()

        await eventually(has_line)

    async def end(self, signum: signal.Signals) -> int:
        self._process.send_signal(signum)
        async with asyncio.timeout(30):
            return await self._process.wait()


@asynccontextmanager
async def started(log: Path, values: dict[str, str]) -> AsyncIterator[WorkerProcess]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *tied(COMMAND), cwd=ROOT, env=values, stdout=out, stderr=out
        )
    try:
        yield WorkerProcess(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run(values: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    """The exit code and what was written to stderr."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=ROOT, env=values, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_a_worker_killed_at_work_leaves_exact_sums(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    """Three workers in turn are killed while they post; the fourth one finishes."""
    values = environment(mongo_uri, redis_url)
    posted = 0
    for turn in range(3):
        async with started(tmp_path / f"{turn}.log", values) as worker:
            await worker.says("worker.started")
            for _ in range(60):
                await stage.enqueue(make_events(5))

            async def some_more_are_posted(before: int = posted) -> bool:
                return await stage.database["entries"].count_documents({}) > before

            await eventually(some_more_are_posted)
            assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
            posted = await stage.database["entries"].count_documents({})
            assert not await stage.queue_is_empty()
    async with started(tmp_path / "last.log", values):
        await stage.drained()
    await stage.assert_exact("alice", 900)
    assert await stage.spent_in_redis("alice") == 900 * CALL_NUSD


async def test_sigterm_finishes_running_jobs_and_exits_0(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    values = environment(mongo_uri, redis_url)
    async with started(tmp_path / "log", values) as worker:
        await worker.says("worker.started")
        for _ in range(60):
            await stage.enqueue(make_events(5))

        async def some_are_posted() -> bool:
            return bool(await stage.entry_ids())

        await eventually(some_are_posted)
        assert await worker.end(signal.SIGTERM) == 0
        assert "Traceback" not in worker.log()
    assert await stage.redis.keys("arq:in-progress:*") == []
    assert (await run(values, "--check"))[0] == 1
    posted = len(await stage.entry_ids())
    await stage.assert_exact("alice", posted)
    assert await stage.redis.zcard(QUEUE) == (300 - posted) / 5


async def test_the_health_check_fails_without_a_worker(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    values = environment(mongo_uri, redis_url)
    code, errors = await run(values, "--check")
    assert (code, errors.count("\n")) == (1, 1)
    assert "the ledger worker 'process' is not alive" in errors
    async with started(tmp_path / "log", values) as worker:
        await worker.says("worker.started")

        async def alive() -> bool:
            return (await run(values, "--check"))[0] == 0

        await eventually(alive)
        assert (await run(values | {"WORKER_NAME": "another"}, "--check"))[0] == 1
    code, errors = await run(values | {"REDIS_URL": "redis://127.0.0.1:1"}, "--check")
    assert (code, errors.count("\n")) == (1, 1)
    assert "Redis is unavailable" in errors


async def test_a_standalone_mongodb_is_refused(redis_url: str, tmp_path: Path) -> None:
    with running(mongo_server(tmp_path, standalone=True)) as server:
        code, errors = await run(environment(server.url, redis_url))
    assert code == 1
    assert errors.startswith("services.ledger_worker: MongoDB runs standalone")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "redis://:hunter2@localhost:no-port"),
        ("PRICE_MAP_PATH", "/does/not/exist"),
    ],
)
async def test_an_invalid_setting_is_one_line_that_names_it(variable: str, value: str) -> None:
    values = environment("mongodb://127.0.0.1:1", "redis://127.0.0.1:1")
    code, errors = await run(values | {variable: value})
    assert (code, errors.count("\n")) == (1, 1)
    assert variable in errors
    assert "hunter2" not in errors


async def test_a_start_waits_for_late_servers(tmp_path: Path) -> None:
    for name in ("mongo", "redis"):
        (tmp_path / name).mkdir()
    mongo, redis = mongo_server(tmp_path / "mongo"), redis_server(tmp_path / "redis")
    async with started(tmp_path / "log", environment(mongo.url, redis.url)) as worker:
        await worker.says("database=MongoDB")
        with running(mongo):
            await worker.says("database=Redis")
            with running(redis):
                await worker.says("worker.started")
                assert await worker.end(signal.SIGTERM) == 0


async def test_sigterm_ends_a_waiting_start(tmp_path: Path) -> None:
    values = environment("mongodb://127.0.0.1:1", "redis://127.0.0.1:1")
    async with started(tmp_path / "log", values) as worker:
        await worker.says("database=MongoDB")
        assert await worker.end(signal.SIGTERM) == 0


async def test_metrics_are_served(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    metrics = {"WORKER_METRICS_HOST": "127.0.0.1", "WORKER_METRICS_PORT": str(port)}
    await stage.enqueue([make_event(), make_event(model="nobody-knows")])
    await stage.enqueue_raws(altered(make_event(), v=99))
    values = environment(mongo_uri, redis_url, **metrics)
    async with started(tmp_path / "log", values) as worker:
        await worker.says("worker.started")
        await stage.drained()
        async with started(tmp_path / "second.log", values | {"WORKER_NAME": "second"}) as second:
            await second.says("metrics.unavailable")
            await second.says("worker.started")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # noqa: ASYNC210
            page = answer.read().decode()
    for line in (
        "ledger_entries_posted_total 2.0",
        "ledger_entries_unpriced_total 1.0",
        'ledger_dead_letters_total{kind="event"} 1.0',
        "ledger_transaction_events_count 1.0",
        "ledger_queue_jobs ",
        "ledger_queue_oldest_seconds ",
        "ledger_verify_ok ",
        "ledger_verify_last_success_timestamp ",
        "ledger_unrolled_oldest_seconds ",
    ):
        assert f"\n{line}" in page


async def test_replay_from_the_command_line(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    values = environment(mongo_uri, redis_url)
    await stage.enqueue([make_event("carol")])
    async with started(tmp_path / "log", values):
        await stage.drained()
        await stage.add_account("carol")
        assert await run(values, "--replay") == (0, "")
        await stage.drained()
    async with open_stage(mongo_uri, redis_url) as fresh:
        await fresh.assert_exact("carol", 1)
        assert await fresh.dead_letters.count() == 0


async def test_verify_from_the_command_line(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    values = environment(mongo_uri, redis_url)
    await stage.enqueue(make_events(3))
    async with started(tmp_path / "log", values):
        await stage.drained()
    for arguments in (["--verify"], ["--verify", "--full"]):
        assert await run(values, *arguments) == (0, "")
    await stage.database["accounts"].update_one({"_id": "alice"}, {"$inc": {"spent_nusd": 1}})
    for arguments in (["--verify"], ["--verify", "--full"]):
        code, errors = await run(values, *arguments)
        assert code == 1
        assert "'alice', where account is 13500001 instead of 13500000 (nusd)" in errors


async def test_copies_of_spend_are_forgotten_from_the_command_line(
    stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    key_of_alice = [Spent(key_id="key-1", period="total", nusd=2)]
    await stage.holds.seed("alice", [Spent(period="total", nusd=1), *key_of_alice])
    held = make_event("bob")
    await stage.hold(held)
    assert await run(environment(mongo_uri, redis_url), "--forget-spend") == (0, "")
    assert await stage.spent_in_redis("alice") is None
    assert [key async for key in stage.redis.scan_iter(match="*:spent*")] == []
    assert await stage.holds.held("bob") == CALL_NUSD


async def test_the_worker_verifies_and_settles_periodically(
    stage: Stage, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    values = environment(mongo_uri, redis_url, WORKER_VERIFY_S="1", WORKER_REPRICE_S="1")
    event = make_event(model="late-1")
    async with started(tmp_path / "log", values) as worker:
        await stage.enqueue([event])
        await stage.drained()
        await worker.says("ledger.verified")
        await stage.set_price("late-1", "3", "15")

        async def is_settled() -> bool:
            posted = await stage.entries.get_many([event.call_id])
            return len(await stage.entries.corrections_of(posted)) == 1

        await eventually(is_settled)
        await stage.assert_exact("alice", 2, nusd=CALL_NUSD)
        await stage.database["accounts"].update_one({"_id": "alice"}, {"$inc": {"spent_nusd": 1}})
        await worker.says("ledger.drifted")
        assert await worker.end(signal.SIGTERM) == 0


async def test_the_command_rolls_up_what_a_clock_that_runs_ahead_has_stamped(
    stage: Stage, mongo_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_ms = int(time.time() * 1000) + 86_400_000
    monkeypatch.setattr(rollup_segments, "_now_ms", lambda: later_ms)
    await LedgerStore(stage.database).post([entry("one", user_id="alice")])
    assert await stage.database["rollups"].count_documents({}) == 0
    assert await run(environment(mongo_uri, redis_url), "--roll-up") == (0, "")
    assert await stage.database["rollups"].count_documents({"user_id": "alice"}) == 1
    assert await stage.database["rollup_segments"].count_documents({"level": UNROLLED}) == 0


async def test_the_command_names_a_rollup_that_cannot_be_added_to(
    stage: Stage, mongo_uri: str, redis_url: str
) -> None:
    await LedgerStore(stage.database).post([entry("one", user_id="alice")])
    assert await run(environment(mongo_uri, redis_url), "--roll-up") == (0, "")
    await stage.database["rollups"].update_one({}, {"$set": {"cost_nusd": "much"}})
    await LedgerStore(stage.database).post([entry("two", user_id="alice")])
    code, errors = await run(environment(mongo_uri, redis_url), "--roll-up")
    assert code == 1
    assert "1 rollups cannot be added to" in errors
    assert "'alice|" in errors
