"""The calls that systems are measured by, and what one round of them comes to."""

from statistics import quantiles
from typing import Any

import msgspec

from bench.load import LoadJob, LoadResult, run_job
from bench.systems import System
from tests.support.agent_calls import agent_call

_PADDING = "x" * 820
_US = 1e6
_MS = 1e3
# Connections of a rate; all of them wait only for a system that does not keep up.
_AT_MOST = 64


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    stream: bool
    concurrency: int
    requests: int
    # A coding agent's call, of 65 KB, instead of one of 1 KB.
    is_agents: bool = False
    # How many are due each second, whatever the answers take; None: one after another.
    per_s: float | None = None


class ScenarioRow(msgspec.Struct, frozen=True, kw_only=True):
    """One system in one round of one scenario."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    load_share: float


def scenarios(requests: int) -> list[Scenario]:
    return (
        [
            Scenario(
                name=f"{'SSE, 20 chunks' if stream else 'JSON'}, {concurrency} at a time",
                stream=stream,
                concurrency=concurrency,
                requests=requests // 4 if stream or concurrency == 1 else requests,
            )
            for stream in (False, True)
            for concurrency in (1, 16, 64)
        ]
        + [
            Scenario(
                name=f"{'SSE, 20 chunks' if stream else 'JSON'}, an agent's call, 16 at a time",
                stream=stream,
                concurrency=16,
                requests=requests // 8,
                is_agents=True,
            )
            for stream in (False, True)
        ]
        + [
            Scenario(
                name=f"{'SSE, 20 chunks' if stream else 'JSON'}, {per_s} a second",
                stream=stream,
                concurrency=_AT_MOST,
                requests=requests // 2,
                per_s=per_s,
            )
            for stream, per_s in ((False, 400), (True, 200))
        ]
    )


def measure(system: System, scenario: Scenario, requests: int) -> ScenarioRow:
    """One process of load against one system."""
    before = system.cpu_s()
    result = load(system, scenario, requests)
    after = system.cpu_s()
    cuts = quantiles(result.latencies_s, n=100)
    count = len(result.latencies_s)
    return ScenarioRow(
        requests_per_s=count / result.elapsed_s,
        p50_ms=cuts[49] * _MS,
        p99_ms=cuts[98] * _MS,
        cpu_us={name: (after[name] - before[name]) / count * _US for name in after},
        load_share=result.cpu_s / result.elapsed_s,
    )


def load(system: System, scenario: Scenario, requests: int) -> LoadResult:
    script = "[[stand-in chunks=20]]" if scenario.stream else ""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": f"{script} {_PADDING}"}]}
    if scenario.is_agents:
        body = msgspec.json.decode(agent_call("chat", system.model))
        body["messages"][-1]["content"] += script
    body |= {"model": system.model, "stream": scenario.stream}
    job = LoadJob(
        url=f"{system.url}/v1/chat/completions",
        api_key=system.api_key,
        body=msgspec.json.encode(body).decode(),
        concurrency=scenario.concurrency,
        requests=requests,
        per_s=scenario.per_s,
    )
    return run_job(job)
