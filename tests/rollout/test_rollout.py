"""Rollouts and a rollback under load lose no call, by the numbers of the rendered manifests."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Collection

import msgspec
import pytest
import pytest_asyncio

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.servers import stand_in_settings
from deploy.local.stack import LocalStack
from tests.chaos.check import check
from tests.chaos.run import is_settled
from tests.rollout.cluster import Pod, RolloutCluster
from tests.rollout.front import Front
from tests.rollout.load import Load, Outcome
from tests.rollout.manifests import Workload, ingress_directives, render, workloads
from tests.support.polling import eventually, eventually_in_thread

NGINX = os.environ.get("NGINX", "")
pytestmark = [
    pytest.mark.skipif(not NGINX, reason="make test-rollout"),
    pytest.mark.asyncio(loop_scope="module"),
]

# How late load balancers learn that a pod goes: late, and still within any preStop.
_LAG_S = 3.0
_SETTLE_S = 60.0
# A killed gateway's calls are given up soon; all else is the manifests'.
_SOON = {"HOLD_LEASE_S": "10", "WORKER_SWEEP_S": "1"}
_OWN = ("gateway", "admin", "ledger_worker")
_SERVED = ("gateway", "admin")
_BUDGET = {"budget": {"limit_usd": 1_000_000, "period": "total"}}


class Rehearsal:
    """A stack whose services are pods behind nginx; `log_lines` say what happened to them."""

    def __init__(
        self,
        stack: LocalStack,
        rendered: dict[str, Workload],
        cluster: RolloutCluster,
        log_lines: list[str],
    ) -> None:
        self.stack = stack
        self.workloads = rendered
        self.cluster = cluster
        self.log_lines = log_lines

    async def roll(self, *, stuck: bool = False) -> list[Pod]:
        """All three at once; the gateway that hangs is the first of the pods that are replaced."""
        rolled = await asyncio.gather(
            *(
                self.cluster.roll(self.workloads[name], stuck=stuck and name == "gateway")
                for name in ("gateway", "admin", "ledger-worker")
            )
        )
        return [pod for pods in rolled for pod in pods]

    async def books(self, load: Load) -> list[str]:
        """What is wrong with them."""
        await eventually_in_thread(lambda: is_settled(self.stack), limit_s=_SETTLE_S)
        return list((await asyncio.to_thread(check, self.stack, load.whole_ids)).faults)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rehearsal]:
    directory = tmp_path_factory.mktemp("stack")
    stack = LocalStack(directory, {**without_settings(os.environ), **_SOON}, free_ports=True)
    log_lines: list[str] = []
    try:
        await asyncio.to_thread(stack.start)
        for name in _OWN:
            await asyncio.to_thread(stack.terminate, name)
        manifests = render()
        rendered = workloads(manifests)
        assert rendered.keys() == {"gateway", "admin", "ledger-worker"}
        front = Front(NGINX, directory / "nginx", _SERVED, ingress_directives(manifests))
        front.start(stack.supervisor)
        cluster = _cluster(stack, front, log_lines)
        stack._info = msgspec.structs.replace(
            stack.info, gateway_url=front.url("gateway"), admin_url=front.url("admin")
        )
        try:
            await asyncio.gather(*(cluster.deploy(each) for each in rendered.values()))
            admin = StackClient(stack.info.admin_url, stack.info.admin_api_key)
            await asyncio.to_thread(
                admin.expect, "PATCH", f"/admin/accounts/{stack.info.demo_user_id}", _BUDGET
            )
            yield Rehearsal(stack, rendered, cluster, log_lines)
        finally:
            await cluster.close()
    finally:
        await asyncio.to_thread(stack.stop)


def _cluster(stack: LocalStack, front: Front, log_lines: list[str]) -> RolloutCluster:
    info = stack.info
    environment = {
        **without_settings(os.environ),
        **stand_in_settings(info.provider_url),
        **_SOON,
        "MONGO_URI": info.mongo_uri,
        "REDIS_URL": info.redis_url,
        "ADMIN_API_KEY": info.admin_api_key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "GATEWAY_URL": front.url("gateway"),
    }
    spools = stack.directory / "spools"
    return RolloutCluster(
        stack.supervisor, front, spools, environment, endpoints_lag_s=_LAG_S, say=log_lines.append
    )


async def _reaches_all(load: Load, cluster: RolloutCluster) -> None:
    """Until every pod that is served answers calls of each kind, streams too."""
    kinds = {"gateway": ("short", "long"), "admin": ("admin",)}
    expected = {
        (kind, pod.address) for pod in cluster.pods for kind in kinds.get(pod.workload.name, ())
    }

    async def reached() -> bool:
        return expected <= load.begun

    await eventually(reached)


def failed(outcomes: Collection[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.fault is not None]


async def test_rollouts_lose_no_call(rehearsal: Rehearsal) -> None:
    """Rolled, and rolled back. One gateway hangs, and is killed at the end of its grace."""
    cluster, load = rehearsal.cluster, Load(rehearsal.stack.info)
    running = asyncio.create_task(load.run())
    await _reaches_all(load, cluster)
    first = await rehearsal.roll(stuck=True)
    hanging = first[0]
    await cluster.gone([pod for pod in first if pod is not hanging])
    back = await rehearsal.roll()
    await cluster.gone()
    load.until.set()
    await running
    faults = await rehearsal.books(load)
    log_text = "\n".join(rehearsal.log_lines)
    lost = failed(load.outcomes)
    # The calls that were at it when it hung.
    killed = [each for each in lost if each.pod == hanging.address]
    assert [each for each in lost if each not in killed] == [], log_text
    assert [pod.name for pod in [*first, *back] if pod.was_killed] == [hanging.name], log_text
    # Those that had begun before load balancers knew; short ones have ended by then.
    assert {each.kind for each in killed} <= {"long"}, log_text
    assert faults == [], log_text
    assert cluster.troubles == [], log_text
    kinds = Counter(each.kind for each in load.outcomes if each.fault is None)
    assert min(kinds[kind] for kind in ("short", "long", "admin")) > 10, kinds
    print(f"{log_text}\n{dict(kinds)} whole, {len(killed)} killed")


async def test_without_a_pre_stop_calls_are_lost(rehearsal: Rehearsal) -> None:
    """So the test above can fail: SIGTERM comes before load balancers know."""
    cluster, load = rehearsal.cluster, Load(rehearsal.stack.info, long=0)
    running = asyncio.create_task(load.run())
    gateway = msgspec.structs.replace(rehearsal.workloads["gateway"], pre_stop_s=0.0)
    for pod in cluster.pods:
        if pod.workload.name == gateway.name:
            pod.workload = gateway
    await cluster.roll(gateway)
    await cluster.gone()
    load.until.set()
    await running
    faults = await rehearsal.books(load)
    lost = failed(load.outcomes)
    assert lost
    assert {each.kind for each in lost} == {"short"}
    # What nobody served costs nothing.
    assert faults == []
    print(f"{len(lost)} of {len(load.outcomes)} lost, such as {lost[0].fault}")
