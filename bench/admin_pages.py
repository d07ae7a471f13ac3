"""The console's pages over a ledger of many accounts: how long, how large, and how much memory."""

from collections.abc import AsyncIterator

import httpx2
import msgspec
import psutil

TARGET_MS = 150.0
MAX_BYTES = 120_000
MAX_GROWTH_MB = 20.0
_POLLS = 200
MAX_POLL_CPU_MS = 5.0


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """`poll_cpu_ms` is the admin service's, of one silent poll of the tail."""

    growth_mb: float
    poll_cpu_ms: float


async def sign_in(client: httpx2.AsyncClient, key: str) -> None:
    """The client keeps the session's cookie."""
    answer = await client.post(
        "/console/sign-in", data={"admin_key": key}, headers={"sec-fetch-site": "same-origin"}
    )
    if answer.status_code != 303:
        raise RuntimeError(f"/console/sign-in: {answer.status_code} {answer.text[:500]}")


async def pages(client: httpx2.AsyncClient, user_id: str) -> AsyncIterator[tuple[str, str]]:
    """The name and path of each page that asks for more than its own settings."""
    entries = (await client.get("/admin/usage?limit=1")).json()["data"]
    key = (await client.get(f"/admin/keys?user_id={user_id}&limit=1")).json()["data"]
    for name, path in (
        ("overview of today", "/console?days=1"),
        ("overview of 7 days", "/console?days=7"),
        ("overview of 30 days", "/console?days=30"),
        ("budgets at risk, which the overview asks for", "/console/budgets/first"),
        ("accounts", "/console/accounts"),
        ("an account", f"/console/accounts/{user_id}"),
        ("keys", "/console/keys"),
        ("a key", f"/console/keys/{key[0]['key_id']}"),
        ("calls", "/console/calls"),
        ("calls of an account", f"/console/calls?user_id={user_id}"),
        ("a call", f"/console/calls/{entries[0]['entry_id']}"),
        ("prices", "/console/prices"),
        ("models", "/console/models"),
        ("ledger", "/console/ledger"),
        ("audit", "/console/audit"),
        ("alerts", "/console/alerts"),
        ("people", "/console/people"),
        ("settings", "/console/settings"),
    ):
        yield name, path


async def weigh(client: httpx2.AsyncClient, pid: int, before_mb: float) -> Weight:
    """After the pages were asked."""
    process = psutil.Process(pid)
    newest = (await client.get("/admin/usage?limit=1")).json()["data"][0]["entry_id"]
    cpu_before_s = _cpu_s(process)
    for _ in range(_POLLS):
        answer = await client.get(f"/console/calls/tail?seen={newest}")
        if answer.status_code != 204:
            raise RuntimeError(f"/console/calls/tail: {answer.status_code}")
    cpu_ms = (_cpu_s(process) - cpu_before_s) * 1000 / _POLLS
    return Weight(growth_mb=process.memory_info().rss / 1e6 - before_mb, poll_cpu_ms=cpu_ms)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
