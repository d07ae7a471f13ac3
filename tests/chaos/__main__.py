"""`make chaos`: one run per seed; calls begin without Redis with odd ones. Exits 1 where books do
not balance, or a pool was overrun.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.chaos.check import Findings, skip_an_increment
from tests.chaos.on_cluster import ClusterNode, mover, victims
from tests.chaos.run import REPLICAS, SETTINGS, run
from tests.clusters import cluster


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=40, help="of load, for each seed")
    parser.add_argument("--cluster", action="store_true", help="a Redis Cluster of three masters")
    parser.add_argument("--fault", action="store_true", help="skip one $inc: the run must fail")
    arguments = parser.parse_args()
    failed = 0
    for seed in arguments.seeds:
        print(f"seed {seed}", flush=True)
        findings = _run(
            seed, arguments.seconds, on_cluster=arguments.cluster, fault=arguments.fault
        )
        print(f"  served {findings.served}, entries {dict(findings.entries)}")
        for fault in findings.faults:
            print(f"  FAULT {fault}")
        print("  the books balance" if not findings.faults else "  THE BOOKS DO NOT BALANCE")
        failed += bool(findings.faults)
    return 1 if failed else 0


def _run(seed: int, seconds: float, *, on_cluster: bool, fault: bool) -> Findings:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        nodes: list[ClusterNode] = []
        is_closed = seed % 2 == 0
        without_redis = {"ADMISSION_WITHOUT_REDIS": "closed" if is_closed else "open"}
        beside, settings = None, SETTINGS | without_redis
        if on_cluster:
            redis_cluster = stack.enter_context(cluster(directory))
            nodes, beside = victims(redis_cluster), mover(redis_cluster, seed, _say)
            settings |= {"REDIS_URL": redis_cluster.url}
        services = LocalStack(
            directory / "stack",
            {**without_settings(os.environ), **settings},
            gateways=REPLICAS,
            workers=REPLICAS,
            free_ports=True,
        )
        stack.callback(services.stop)
        services.start()
        work = run(
            services,
            seed=seed,
            seconds=seconds,
            say=_say,
            nodes=nodes,
            beside=beside,
            meddle=skip_an_increment if fault else None,
            is_closed=is_closed,
        )
        return asyncio.run(work)


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
