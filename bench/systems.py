"""The systems that are measured side by side: the provider itself, a bare relay, the gateway."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec
import psutil
from redis import Redis

from deploy.local import ports
from deploy.local.environment import ROOT, without_settings
from deploy.local.process import Launch, Supervisor
from deploy.local.readiness import Listens, await_ready
from deploy.local.stack import LocalStack
from deploy.local.state import StackInfo

_STOP_S = 10.0
# Looking up a key and its account anew costs more than a call, and would come in some rounds alone.
_CACHE_TTL_S = "3600"


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send load, and the processes whose CPU time is the system's."""

    name: str
    url: str
    api_key: str
    pids: dict[str, int]
    model: str = "gpt-4o-mini"

    def cpu_s(self) -> dict[str, float]:
        """User and system time of each process so far."""
        return {name: _cpu_s(pid) for name, pid in self.pids.items()}

    def rss_mb(self) -> dict[str, float]:
        return {
            name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in self.pids.items()
        }


Measured = tuple[StackInfo, list[System]]


@contextmanager
def systems(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Measured]:
    """Direct, bare relay and gateway (databases and ledger worker included), on free ports.

    A REDIS_URL in `settings` replaces the stack's own Redis.
    """
    own = {"LOG_LEVEL": "warning", "CACHE_TTL_S": _CACHE_TTL_S}
    environment = {**without_settings(os.environ), **own, **settings}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stack = LocalStack(Path(directory), environment, free_ports=True)
        bare = Supervisor(Path(directory) / "bare")
        try:
            info = stack.start()
            _raise_budget(info.admin_url, info.admin_api_key, info.demo_user_id)
            port = _start_bare_relay(bare, info.provider_url, environment)
            pids = {
                name: stack.pid(name) for name in ("gateway", "ledger_worker", "redis", "mongo")
            }
            yield (
                info,
                [
                    System(name="direct", url=info.provider_url, api_key="bench", pids={}),
                    System(
                        name="bare relay",
                        url=f"http://127.0.0.1:{port}",
                        api_key="bench",
                        pids={"bare relay": _pid(bare, "bare_relay")},
                    ),
                    System(
                        name="gateway",
                        url=info.gateway_url,
                        api_key=info.demo_api_key,
                        pids={name: pid for name, pid in pids.items() if pid is not None},
                    ),
                ],
            )
        finally:
            bare.stop("bare_relay", _STOP_S)
            stack.stop()


@contextmanager
def synced_each_second(redis_url: str) -> Iterator[None]:
    """Redis as it is faster, at the risk of the last second's events should the machine crash."""
    with Redis.from_url(redis_url) as redis:
        redis.config_set("appendfsync", "everysec")
        try:
            yield
        finally:
            redis.config_set("appendfsync", "always")


def _raise_budget(admin_url: str, admin_api_key: str, user_id: str) -> None:
    """A benchmark must not run into the demo account's limit."""
    command = (
        *("curl", "-sSf", "-X", "PATCH", f"{admin_url}/admin/accounts/{user_id}"),
        *("-H", f"authorization: Bearer {admin_api_key}", "-H", "content-type: application/json"),
        *("-d", '{"budget": {"limit_usd": 1000000, "period": "monthly"}}', "-o", os.devnull),
    )
    subprocess.run(command, check=True)


def _start_bare_relay(bare: Supervisor, provider_url: str, environment: dict[str, str]) -> int:
    port = ports.pick_free(avoid=frozenset())
    bare.spawn(
        Launch(
            name="bare_relay",
            command=(sys.executable, "-m", "bench.bare_relay", "--port", str(port)),
            environment={**environment, "OPENAI_BASE_URL": f"{provider_url}/v1"},
            directory=ROOT,
            digest="",
            port=port,
        )
    )
    await_ready({"bare_relay": Listens(port=port)}, bare, timeout_s=_STOP_S)
    return port


def _pid(supervisor: Supervisor, name: str) -> int:
    record = supervisor.find(name)
    if record is None:
        raise RuntimeError(f"{name} does not run")
    return record.pid


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
