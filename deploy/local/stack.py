"""The local stack: two databases, a stand-in provider and the three services as processes.

`make up` runs one in `.local/`; tests run their own on free ports in a temporary directory.
"""

import contextlib
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local import ports
from deploy.local.errors import StackError
from deploy.local.plan import StackPlan, chosen_port, make_plan
from deploy.local.process import Supervisor
from deploy.local.readiness import await_ready
from deploy.local.seed import DEMO_USER_ID, seed_demo
from deploy.local.servers import Server
from deploy.local.state import StackInfo, StackState, load_state, save_state, write_private

START_TIMEOUT_S = 60.0
STOP_DEADLINE_S = 20.0
CHOSEN_PORTS = {"gateway": ("GATEWAY_PORT", 8000), "admin": ("ADMIN_PORT", 8001)}
# The reverse of the start: the gateway flushes while the worker still posts, and the worker
# finishes while the databases still answer.
STOP_ORDER = ("gateway", "admin", "ledger_worker", "provider", "redis", "mongo")


class LocalStack:
    """The processes inherit `environment`; its settings win over the stack's own.

    `free_ports` takes free ports for the gateway and the admin service too, whatever GATEWAY_PORT
    and ADMIN_PORT say. Replicas are named `gateway`, `gateway-2`, … and `ledger_worker`, ….
    The processes end with this one, unless they are `detached`. A database is given
    `start_timeout_s` to open what it has.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        gateways: int = 1,
        workers: int = 1,
        free_ports: bool = False,
        detached: bool = False,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self.directory = directory
        self._start_timeout_s = start_timeout_s
        self.supervisor = Supervisor(directory, detached=detached)
        self._environment = dict(environment)
        self._gateways = gateways
        self._workers = workers
        self._free_ports = free_ports
        self._state = StackState()
        self._servers: dict[str, Server] = {}
        self._info: StackInfo | None = None

    @property
    def info(self) -> StackInfo:
        if self._info is None:
            raise StackError("the stack has not been started")
        return self._info

    @property
    def gateway_urls(self) -> list[str]:
        return [s.url for s in self._servers.values() if s.name.startswith("gateway")]

    def start(self) -> StackInfo:
        """Starts missing processes, replaces changed ones, and creates the demo account.

        A start that fails or is interrupted stops the processes that it has started.
        """
        started: list[str] = []
        with contextlib.ExitStack() as claims:
            try:
                return self._start(started, claims)
            except BaseException:
                for name in sorted(started, key=_stop_rank):
                    self.supervisor.stop(name, STOP_DEADLINE_S)
                raise

    def _start(self, started: list[str], claims: contextlib.ExitStack) -> StackInfo:
        self._state = load_state(self.directory)
        plan = make_plan(
            environment=self._environment,
            data=self.directory / "data",
            admin_api_key=self._state.admin_api_key,
            gateways=self._gateways,
            workers=self._workers,
            port_of=self._port_of,
        )
        self._servers = {server.name: server for server in plan.servers}
        self._claim_chosen_ports(claims)
        self._require_chosen_ports()
        self._state.kind = "local"
        save_state(self.directory, self._state)
        for name in set(self.supervisor.names()) - self._servers.keys():
            # A process of an earlier start that this one does not need, such as the stand-in.
            self.supervisor.stop(name, STOP_DEADLINE_S)
        self._bring_up(plan.backing, started)
        self._bring_up(plan.services, started)
        self._info = self._seed(plan)
        save_state(self.directory, self._state)
        write_private(self.directory / "stack.env", self._info.as_env().encode())
        return self._info

    def stop(self) -> list[str]:
        """Stops all processes; the data stays. Returns the names of killed ones."""
        names = sorted(self.supervisor.names(), key=_stop_rank)
        return [name for name in names if not self.supervisor.stop(name, STOP_DEADLINE_S)]

    def kill(self, name: str) -> None:
        """kill -9, like a crash. Returns once the process has ended."""
        self.supervisor.kill(name)

    def terminate(self, name: str) -> bool:
        """SIGTERM; True if the process ended before the deadline."""
        return self.supervisor.stop(name, STOP_DEADLINE_S)

    def signal(self, name: str, signum: signal.Signals) -> None:
        """For example SIGSTOP and SIGCONT, to pause a process."""
        if not self.supervisor.signal(name, signum):
            raise StackError(f"{name} is not running")

    def start_process(self, name: str) -> None:
        """Starts one process again, on its port and data, and waits until it is ready."""
        self._bring_up([self._servers[name]], [])

    def restart(self, name: str) -> None:
        self.terminate(name)
        self.start_process(name)

    def pid(self, name: str) -> int | None:
        record = self.supervisor.find(name)
        return None if record is None else record.pid

    def url(self, name: str) -> str:
        return self._servers[name].url

    def log(self, name: str) -> str:
        path = self.supervisor.log_path(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def _bring_up(self, servers: Sequence[Server], started: list[str]) -> None:
        """Adds to `started` the names of the processes that it starts."""
        for server in servers:
            record = self.supervisor.find(server.name)
            if record is not None and record.digest == server.launch.digest:
                continue
            if record is not None:
                self.supervisor.stop(server.name, STOP_DEADLINE_S)
            started.append(server.name)
            self.supervisor.spawn(server.launch)
        probes = {server.name: server.probe for server in servers}
        try:
            await_ready(probes, self.supervisor, timeout_s=self._start_timeout_s)
        except StackError as error:
            # Another stack may have taken the port since it was found free.
            self._require_chosen_ports(error.detail)
            raise

    def _port_of(self, name: str) -> int:
        """The chosen port, else the last one, unless another process has taken it."""
        if name in CHOSEN_PORTS and not self._free_ports:
            return chosen_port(self._environment, *CHOSEN_PORTS[name])
        port = self._state.ports.get(name)
        if port is None or (self.supervisor.find(name) is None and not ports.is_free(port)):
            port = ports.pick_free(avoid=frozenset(self._state.ports.values()))
            self._state.ports[name] = port
        return port

    def _claim_chosen_ports(self, claims: contextlib.ExitStack) -> None:
        for name, port in self._chosen_ports():
            try:
                claims.enter_context(ports.claim(port))
            except BlockingIOError:
                raise _port_taken(name, port, "another start that is under way") from None

    def _require_chosen_ports(self, log: str = "") -> None:
        """Raises StackError with the taken port and its owner, before any start or stop."""
        for name, port in self._chosen_ports():
            record = self.supervisor.find(name)
            is_own = record is not None and record.port == port
            if not is_own and not ports.is_free(port):
                raise _port_taken(name, port, ports.owner(port), log)

    def _chosen_ports(self) -> list[tuple[str, int]]:
        if self._free_ports:
            return []
        return [(name, self._servers[name].launch.port) for name in CHOSEN_PORTS]

    def _seed(self, plan: StackPlan) -> StackInfo:
        self._state.demo_api_key = seed_demo(
            gateway_url=self.url("gateway"),
            admin_url=self.url("admin"),
            admin_api_key=plan.admin_api_key,
            demo_api_key=self._state.demo_api_key,
        )
        return StackInfo(
            gateway_url=self.url("gateway"),
            admin_url=self.url("admin"),
            admin_api_key=plan.admin_api_key,
            demo_api_key=self._state.demo_api_key,
            demo_user_id=DEMO_USER_ID,
            mongo_uri=plan.mongo_uri,
            redis_url=plan.redis_url,
            provider_url=plan.provider_url,
        )


def _port_taken(name: str, port: int, owner: str, log: str = "") -> StackError:
    variable, _ = CHOSEN_PORTS[name]
    message = f"port {port} is taken by {owner}; choose a free one: {variable}={port + 10} make up"
    return StackError(message, log)


def _stop_rank(name: str) -> int:
    role = name.partition("-")[0]
    return STOP_ORDER.index(role) if role in STOP_ORDER else len(STOP_ORDER)
