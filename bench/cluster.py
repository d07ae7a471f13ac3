"""`make bench-cluster`: what a call costs on a Redis Cluster of three masters, beside one Redis.

Two whole stacks are up at the same time, and take turns. Calls are of a thousand accounts, which
lie in all shards, and CPU time is counted until they are posted and settled.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import msgspec

from bench.systems import System, systems
from bench.whole import example_body, known_accounts, one_round
from tests.clusters import Cluster, cluster

_ONE, _CLUSTER = "one Redis", "cluster"
_AT_A_TIME = (1, 16, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved; medians are printed")
    parser.add_argument("--shards", type=int, default=6)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-cluster-") as directory,
        cluster(Path(directory)) as redis_cluster,
        systems() as (one_info, one),
        systems({"REDIS_URL": f"{redis_cluster.url}?shards={arguments.shards}"}) as (info, several),
    ):
        stacks = {
            _ONE: (one_info, one[-1]),
            _CLUSTER: (info, _with_nodes(several[-1], redis_cluster)),
        }
        body = example_body(one[-1].model)
        secrets = {name: known_accounts(*stack, body) for name, stack in stacks.items()}
        for at_a_time in _AT_A_TIME:
            rows: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
            for n in range(arguments.rounds):
                for name in (_ONE, _CLUSTER) if n % 2 else (_CLUSTER, _ONE):
                    row = one_round(
                        *stacks[name],
                        body,
                        secrets[name],
                        at_a_time=at_a_time,
                        requests=arguments.requests // (4 if at_a_time == 1 else 1),
                    )
                    rows[name].append(row)
            _print(at_a_time, {name: _medians(system_rows) for name, system_rows in rows.items()})


def _with_nodes(gateway: System, redis_cluster: Cluster) -> System:
    nodes = {f"node {n}": node.server.pid for n, node in enumerate(redis_cluster.masters)}
    return msgspec.structs.replace(gateway, pids={**gateway.pids, **nodes})


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(row[name] for row in rows) for name in rows[0]}


def _print(at_a_time: int, cpu: Mapping[str, Mapping[str, float]]) -> None:
    print(f"JSON, {at_a_time} at a time, CPU us per call")
    for name, parts in cpu.items():
        print(f"  {name:<10} " + ", ".join(f"{part} {us:.0f}" for part, us in parts.items()))
    ratio = cpu[_CLUSTER]["gateway"] / cpu[_ONE]["gateway"]
    print(f"  gateway: {ratio:.2f} of one Redis", flush=True)


if __name__ == "__main__":
    main()
