"""The systems that are measured side by side: the provider itself, a bare relay, the gateway."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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

BARE = "bare relay"
_START_S = 60.0
_STOP_S = 10.0
# The stand-in for MongoDB reads a large database as it opens it.
_OPEN_TIMEOUT_S = 600.0
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
def systems(
    settings: Mapping[str, str] = MappingProxyType({}),
    pythons: Sequence[str] = (),
    directory: Path | None = None,
) -> Iterator[Measured]:
    """Direct, bare relay and gateway (databases and ledger worker included), on free ports, by
    default in a temporary directory.

    A REDIS_URL in `settings` replaces the stack's own Redis. Bare relay and gateway run once more
    with each of the `pythons`, which have the gateway's requirements; the stack's gateway is last.
    """
    own = {"LOG_LEVEL": "warning", "CACHE_TTL_S": _CACHE_TTL_S}
    environment = {**without_settings(os.environ), **own, **settings}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        is_seeded, directory = directory is not None, directory or Path(temporary)
        stack = LocalStack(directory, environment, free_ports=True, start_timeout_s=_OPEN_TIMEOUT_S)
        supervisor = Supervisor(directory / "beside")
        try:
            info = stack.start()
            if not is_seeded:
                # Of a database with other accounts, the demo account is not called.
                _raise_budget(info.admin_url, info.admin_api_key, info.demo_user_id)
            environment |= {"OPENAI_BASE_URL": f"{info.provider_url}/v1"}
            pids = {
                name: stack.pid(name) for name in ("gateway", "ledger_worker", "redis", "mongo")
            }
            gateway = System(
                name="gateway",
                url=info.gateway_url,
                api_key=info.demo_api_key,
                pids={name: pid for name, pid in pids.items() if pid is not None},
            )
            more = _More(supervisor, environment, gateway)
            yield (
                info,
                [
                    System(name="direct", url=info.provider_url, api_key="bench", pids={}),
                    more.bare_relay(sys.executable, BARE),
                    *(system for python in pythons for system in more.pair(python)),
                    gateway,
                ],
            )
        finally:
            for name in supervisor.names():
                supervisor.stop(name, _STOP_S)
            stack.stop()


class _More:
    """Starts what runs beside the stack."""

    def __init__(
        self, supervisor: Supervisor, environment: Mapping[str, str], gateway: System
    ) -> None:
        self._supervisor = supervisor
        self._environment = environment
        self._gateway = gateway

    def pair(self, python: str) -> tuple[System, System]:
        """Bare relay and gateway, named after the Python that runs them."""
        command = (python, "-c", "import platform; print(platform.python_version())")
        version = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        suffix = f", Python {version.strip()}"
        relay = self.bare_relay(python, f"{BARE}{suffix}")
        name = f"gateway{suffix}"
        settings = psutil.Process(self._gateway.pids["gateway"]).environ()
        settings["SPOOL_DIR"] = str(self._supervisor.log_path(name).with_suffix(".spool"))
        port = ports.pick_free(avoid=frozenset())
        settings["GATEWAY_PORT"] = str(port)
        pid = self._start(name, (python, "-m", "services.gateway"), settings, port)
        gateway = msgspec.structs.replace(
            self._gateway, name=name, url=f"http://127.0.0.1:{port}", pids={"gateway": pid}
        )
        return relay, gateway

    def bare_relay(self, python: str, name: str) -> System:
        port = ports.pick_free(avoid=frozenset())
        command = (python, "-m", "bench.bare_relay", "--port", str(port))
        pid = self._start(name, command, self._environment, port)
        url = f"http://127.0.0.1:{port}"
        return System(name=name, url=url, api_key="bench", pids={BARE: pid})

    def _start(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str], port: int
    ) -> int:
        return start_beside(self._supervisor, name, command, environment, port)


def start_beside(
    supervisor: Supervisor,
    name: str,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    port: int,
) -> int:
    """Starts a process that listens on the port. Returns its pid, once it does."""
    launch = Launch(
        name=name,
        command=command,
        environment=dict(environment),
        directory=ROOT,
        digest="",
        port=port,
    )
    supervisor.spawn(launch)
    await_ready({name: Listens(port=port)}, supervisor, timeout_s=_START_S)
    record = supervisor.find(name)
    if record is None:
        raise RuntimeError(f"{name} does not run")
    return record.pid


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


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
