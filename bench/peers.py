"""`make bench-peers`: a call through the gateway, other builds of it and LiteLLM Proxy, in turn.

LiteLLM Proxy has an environment of its own, the stack's Redis for its router, and no database, so
that it neither looks up keys nor keeps what calls cost; its master key calls. Another build is a
checkout with its whole stack beside. CPU time is that of each system's own process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import unquote, urlsplit

import msgspec

from bench.scenarios import Scenario, ScenarioRow, measure, scenarios
from bench.systems import BARE, System, start_beside, systems
from deploy.local import ports
from deploy.local.environment import without_settings
from deploy.local.process import Supervisor
from deploy.local.state import StackInfo

_LITELLM = "LiteLLM Proxy"
_MASTER_KEY = "sk-bench"
_MODEL = "gpt-4o-mini"
_STOP_S = 10.0
# A call through LiteLLM Proxy takes some thirty times as long, so it gets fewer of them.
_LITELLM_SHARE = 10
_LEAST = 50
# Prints the last of `bench.systems`, which is the gateway, and ends with its input.
_STACK = """
import sys, msgspec
from bench.systems import systems
with systems() as (_, measured):
    print(msgspec.json.encode(measured[-1]).decode(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def litellm_proxy(binary: Path, info: StackInfo) -> Iterator[System]:
    """With one worker, as it starts by itself."""
    redis = urlsplit(info.redis_url)
    provider = {
        "model": f"openai/{_MODEL}",
        "api_base": f"{info.provider_url}/v1",
        "api_key": "bench",
    }
    config = {
        "model_list": [{"model_name": _MODEL, "litellm_params": provider}],
        "general_settings": {"master_key": _MASTER_KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {
            "redis_host": redis.hostname,
            "redis_port": redis.port,
            "redis_password": unquote(redis.password or "") or None,
        },
    }
    with tempfile.TemporaryDirectory(prefix="bench-litellm-") as directory:
        path = Path(directory) / "config.yaml"
        # JSON is YAML.
        path.write_bytes(msgspec.json.encode(config))
        port = ports.pick_free(avoid=frozenset())
        command = (str(binary), "--config", str(path), "--host", "127.0.0.1", "--port", str(port))
        environment = {
            **without_settings(os.environ),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }
        supervisor = Supervisor(Path(directory) / "process")
        try:
            pid = start_beside(supervisor, _LITELLM, command, environment, port)
            yield System(
                name=_LITELLM,
                url=f"http://127.0.0.1:{port}",
                api_key=_MASTER_KEY,
                pids={_LITELLM: pid},
                model=_MODEL,
            )
        finally:
            supervisor.stop(_LITELLM, _STOP_S)


@contextmanager
def another_build(checkout: Path) -> Iterator[System]:
    """The gateway of a whole stack that is started by the checkout itself."""
    commit = subprocess.run(
        ("git", "-C", str(checkout), "rev-parse", "--short", "HEAD"),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    process = subprocess.Popen(
        (sys.executable, "-c", _STACK),
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"no stack of {checkout} starts")
        gateway = msgspec.json.decode(line, type=System)
        pids = {"gateway": gateway.pids["gateway"]}
        yield msgspec.structs.replace(gateway, name=f"gateway {commit}", pids=pids)


def _requests(system: System, scenario: Scenario) -> int:
    share = _LITELLM_SHARE if system.name == _LITELLM else 1
    return max(_LEAST, scenario.requests // share)


def _compare(scenario: Scenario, candidates: list[System], rounds: int) -> Iterator[str]:
    rows: defaultdict[str, list[ScenarioRow]] = defaultdict(list)
    for system in candidates:
        measure(system, scenario, max(_LEAST, _requests(system, scenario) // 10))
    for _ in range(rounds):
        for system in candidates:
            rows[system.name].append(measure(system, scenario, _requests(system, scenario)))
    yield f"\n{scenario.name}"
    bare_us = _own_us(rows[BARE])
    for name, system_rows in rows.items():
        per_s, p50, p99 = (
            median(getattr(row, field) for row in system_rows)
            for field in ("requests_per_s", "p50_ms", "p99_ms")
        )
        us = _own_us(system_rows)
        yield (
            f"  {name:<20} {per_s:7.0f} requests/s   p50 {p50:8.2f} ms   p99 {p99:8.2f} ms"
            f"   CPU us {us:7.0f} ({us / bare_us:.2f} of the bare relay)"
        )


def _own_us(rows: list[ScenarioRow]) -> float:
    """A gateway's worker and databases are not its own."""
    return median(next(iter(row.cpu_us.values())) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.peers", description=__doc__)
    parser.add_argument("--litellm", type=Path, required=True, help="LiteLLM Proxy's command")
    parser.add_argument("--build", type=Path, action="append", default=[], help="a checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with ExitStack() as stack:
        info, (_direct, bare, gateway) = stack.enter_context(systems())
        candidates = [
            bare,
            *(stack.enter_context(another_build(path.resolve())) for path in options.build),
            gateway,
            stack.enter_context(litellm_proxy(options.litellm.absolute(), info)),
        ]
        for scenario in scenarios(options.requests):
            # LiteLLM Proxy does not keep up with the rates.
            if not scenario.is_agents and scenario.per_s is None:
                for line in _compare(scenario, candidates, options.rounds):
                    print(line, flush=True)
        print()
        for system in candidates:
            for name, mb in system.rss_mb().items():
                print(f"RSS {system.name}, {name}: {mb:.0f} MB")


if __name__ == "__main__":
    main()
