"""What Kubernetes does with Deployments in a rollout, with processes for pods.

A pod that is deleted leaves the endpoints some time after: nobody waits for load balancers. At the
same time its preStop begins, then it gets SIGTERM, and at the end of its grace SIGKILL.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from deploy.local import ports
from deploy.local.environment import ROOT
from deploy.local.ports import HOST
from deploy.local.process import Supervisor
from deploy.local.servers import Server, http_service, worker_service
from tests.rollout.front import Front
from tests.rollout.manifests import Probe, Workload

_POLL_S = 0.05
_MODULES = {"gateway": "gateway", "admin": "admin"}

Say = Callable[[str], None]


class Pod:
    """A process, from its start to its end."""

    def __init__(self, workload: Workload, name: str, server: Server) -> None:
        self.workload = workload
        self.name = name
        self.server = server
        self.address = f"{HOST}:{server.launch.port}"
        self.is_ready = False
        self.is_deleted = False
        self.was_killed = False


class RolloutCluster:
    """`environment` has what the pods' secrets have, and their databases' addresses."""

    def __init__(
        self,
        supervisor: Supervisor,
        front: Front,
        directory: Path,
        environment: Mapping[str, str],
        *,
        endpoints_lag_s: float,
        say: Say,
    ) -> None:
        self._supervisor = supervisor
        self._front = front
        self._directory = directory
        self._environment = environment
        self._lag_s = endpoints_lag_s
        self._say = say
        self._began = monotonic()
        self._numbers = itertools.count(1)
        self._ports: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._removals: set[asyncio.Task[None]] = set()
        self.pods: list[Pod] = []
        # What Kubernetes would have done beside the rollouts: nothing, if all is well.
        self.troubles: list[str] = []

    async def deploy(self, workload: Workload) -> None:
        """Until all replicas are ready."""
        pods = [self._start(workload) for _ in range(workload.replicas)]
        await asyncio.gather(*(self._becomes_ready(pod) for pod in pods))

    async def roll(self, workload: Workload, *, stuck: bool = False) -> list[Pod]:
        """Replaces all pods, and returns them once the new ones are ready: they may still stop.

        `stuck`: the first that is replaced hangs when it gets SIGTERM, until the end of its grace.
        """
        # Else a pod would be deleted before its successor is ready.
        assert workload.unavailable == 0
        old = [pod for pod in self._current(workload) if not pod.is_deleted]
        waiting = list(old)
        missing = len(old)
        while missing or waiting:
            surge = min(workload.surge, missing)
            new = [self._start(workload) for _ in range(surge)]
            missing -= surge
            await asyncio.gather(*(self._becomes_ready(pod) for pod in new))
            for _ in range(max(surge, 1)):
                if waiting:
                    pod = waiting.pop(0)
                    self._delete(pod, hangs=stuck and pod is old[0])
        return old

    async def gone(self, pods: list[Pod] | None = None) -> None:
        """Returns when `pods`, or all that are deleted, have ended."""
        ending = [pod for pod in self.pods if pod.is_deleted] if pods is None else pods
        while any(self._lives(pod) for pod in ending):
            await asyncio.sleep(_POLL_S)
        if self._removals:
            await asyncio.gather(*self._removals)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, workload: Workload) -> Pod:
        number = next(self._numbers)
        name = f"{workload.name}-{number}"
        port = ports.pick_free(avoid=frozenset(self._ports))
        self._ports.add(port)
        values = {
            **self._environment,
            **workload.settings,
            "SPOOL_DIR": str(self._directory / name),
        }
        if workload.name in _MODULES:
            server = http_service(name, _MODULES[workload.name], values, port)
        else:
            server = worker_service(name, values, port)
        pod = Pod(workload, name, server)
        self.pods.append(pod)
        self._supervisor.spawn(server.launch)
        self._log(f"{name} starts at {pod.address}")
        return pod

    async def _becomes_ready(self, pod: Pod) -> None:
        """By its startup probe, then its readiness probe, which go on for as long as it lives."""
        startup = pod.workload.startup
        for _ in range(startup.failures):
            if await self._answers(pod, startup):
                break
            await asyncio.sleep(startup.period_s)
        else:
            raise AssertionError(f"{pod.name} does not start")
        while not await self._answers(pod, pod.workload.readiness):
            await asyncio.sleep(pod.workload.readiness.period_s)
        pod.is_ready = True
        self._log(f"{pod.name} is ready")
        await self._tell(pod.workload)
        self._spawn(self._keep_probing(pod, pod.workload.readiness, "readiness"))
        self._spawn(self._keep_probing(pod, pod.workload.liveness, "liveness"))

    async def _keep_probing(self, pod: Pod, probe: Probe, name: str) -> None:
        failed = 0
        while True:
            await asyncio.sleep(probe.period_s)
            if pod.is_deleted:
                return
            failed = 0 if await self._answers(pod, probe) else failed + 1
            if failed == probe.failures:
                self.troubles.append(f"{pod.name} fails its {name} probe")
                return

    async def _answers(self, pod: Pod, probe: Probe) -> bool:
        try:
            async with asyncio.timeout(probe.timeout_s):
                if probe.path is not None:
                    return await _answers_http(f"http://{pod.address}{probe.path}")
                return await _succeeds(pod, probe)
        except TimeoutError:
            return False

    def _delete(self, pod: Pod, *, hangs: bool) -> None:
        pod.is_deleted = True
        self._log(f"{pod.name} is deleted{', and is going to hang' if hangs else ''}")
        removal = self._spawn(self._leave_endpoints(pod))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)
        self._spawn(self._end(pod, hangs=hangs))

    async def _leave_endpoints(self, pod: Pod) -> None:
        await asyncio.sleep(self._lag_s)
        await self._tell(pod.workload, without=pod)

    async def _end(self, pod: Pod, *, hangs: bool) -> None:
        ends_at = monotonic() + pod.workload.grace_s
        await asyncio.sleep(pod.workload.pre_stop_s)
        if hangs:
            self._supervisor.signal(pod.name, signal.SIGSTOP)
        self._supervisor.signal(pod.name, signal.SIGTERM)
        self._log(f"{pod.name} gets SIGTERM")
        while self._lives(pod):
            if monotonic() >= ends_at:
                pod.was_killed = True
                await asyncio.to_thread(self._supervisor.kill, pod.name)
                self._log(f"{pod.name} gets SIGKILL")
                return
            await asyncio.sleep(_POLL_S)
        self._log(f"{pod.name} has ended")

    async def _tell(self, workload: Workload, without: Pod | None = None) -> None:
        """A deleted pod stays an endpoint until its own removal."""
        if without is not None:
            without.is_ready = False
        if workload.name in _MODULES:
            pods = [pod.address for pod in self._current(workload) if pod.is_ready]
            await self._front.set_endpoints(workload.name, pods)

    def _current(self, workload: Workload) -> list[Pod]:
        return [pod for pod in self.pods if pod.workload.name == workload.name]

    def _lives(self, pod: Pod) -> bool:
        return self._supervisor.find(pod.name) is not None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _log(self, line: str) -> None:
        self._say(f"{monotonic() - self._began:6.1f} s  {line}")


async def _answers_http(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status < 400
    except (aiohttp.ClientError, OSError):
        return False


async def _succeeds(pod: Pod, probe: Probe) -> bool:
    """With the interpreter of the tests, which the image calls `python`."""
    command = (pod.server.launch.command[0], *probe.command[1:])
    process = await asyncio.create_subprocess_exec(
        *command,
        env=pod.server.launch.environment,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await process.wait() == 0
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
