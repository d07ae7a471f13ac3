"""`make bench`: the gateway's cost per call, beside a bare relay and the provider itself.

Each scenario runs in interleaved rounds on one machine, and the medians are printed. Absolute
figures are the machine's; the ratios are the point.
"""

import argparse
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import msgspec
import uvloop

from bench.admission import admission_lines, measure_admission
from bench.scenarios import Scenario, ScenarioRow, load, measure, scenarios
from bench.systems import BARE, System, synced_each_second, systems
from bench.whole import WHOLE, example_body, measure_whole
from deploy.local.state import StackInfo

_SOAK_PARTS = 10
# Above this share of one core the load generator itself is what is measured.
_LOAD_LIMIT = 0.85


# In a scenario with one call at a time nobody shares a sync to disk: what it costs is shown apart.
_EACH_SECOND = "gateway, Redis synced each second"
_TRANSLATED = "gateway, translated"
_TRANSLATED_MODEL = "claude-haiku-4-5"
_NAME_WIDTH = len(_EACH_SECOND)


def report(scenario: Scenario, rows: dict[str, list[ScenarioRow]]) -> list[str]:
    """Medians over the rounds, one line per system, and the ratios of gateway to bare relay."""
    lines = [f"\n{scenario.name} ({scenario.requests} requests a round)"]
    direct = rows.get("direct", [])
    direct_p50 = median(row.p50_ms for row in direct) if direct else 0.0
    direct_p99 = median(row.p99_ms for row in direct) if direct else 0.0
    for name, results in rows.items():
        cpu = {part: median(row.cpu_us[part] for row in results) for part in results[0].cpu_us}
        own = ", ".join(f"{part} {us:.0f}" for part, us in cpu.items())
        p50, p99 = (
            median(getattr(row, field) for row in results) for field in ("p50_ms", "p99_ms")
        )
        is_limited = median(row.load_share for row in results) > _LOAD_LIMIT
        per_s = median(row.requests_per_s for row in results)
        lines.append(
            f"  {name:<{_NAME_WIDTH}} {per_s:8.0f} requests/s"
            f"   p50 {p50:7.2f} ms (+{p50 - direct_p50:6.2f})"
            f"   p99 {p99:7.2f} ms (+{p99 - direct_p99:6.2f})"
            f"   CPU us: {own or '-'}" + ("   LIMITED BY THE LOAD GENERATOR" if is_limited else "")
        )
        # Of the same Python, where another one runs both.
        namesake = name.replace("gateway", BARE)
        baseline = namesake if namesake in rows else BARE
        if "gateway" in cpu and baseline in rows:
            bare_us = median(row.cpu_us[BARE] for row in rows[baseline])
            lines.append(f"  {name} / {baseline}: CPU {cpu['gateway'] / bare_us:.2f}")
    if _TRANSLATED in rows:
        relayed, translated = (
            median(row.cpu_us["gateway"] for row in rows[name]) for name in ("gateway", _TRANSLATED)
        )
        difference = f"({translated - relayed:+.0f} us)"
        lines.append(f"  translated / relayed: CPU {translated / relayed:.2f} {difference}")
    return lines


def _with_translated(scenario: Scenario, measured: list[System]) -> list[System]:
    """A translated call's target is Anthropic's format, and its client speaks chat."""
    gateway = measured[-1]
    if scenario.concurrency == 1 or scenario.per_s is not None:
        return measured
    translated = msgspec.structs.replace(gateway, name=_TRANSLATED, model=_TRANSLATED_MODEL)
    return [*measured, translated]


def soak(system: System, requests: int) -> Iterator[str]:
    """Its memory while it serves that many requests, JSON and streams in turn."""
    part = requests // _SOAK_PARTS
    for number in range(_SOAK_PARTS):
        kind = Scenario(name="soak", stream=number % 2 == 1, concurrency=64, requests=part)
        load(system, kind, part)
        rss = ", ".join(f"{name} {mb:.0f}" for name, mb in system.rss_mb().items())
        yield f"after {(number + 1) * part:7d} requests: RSS MB {rss}"


def _compare(scenario: Scenario, info: StackInfo, measured: list[System], rounds: int) -> list[str]:
    """A report of interleaved rounds."""
    candidates = _with_translated(scenario, measured)
    rows: defaultdict[str, list[ScenarioRow]] = defaultdict(list)
    for system in candidates:
        measure(system, scenario, max(100, scenario.requests // 10))
    for _ in range(rounds):
        for system in candidates:
            rows[system.name].append(measure(system, scenario, scenario.requests))
        if scenario.concurrency == 1:
            with synced_each_second(info.redis_url):
                row = measure(measured[-1], scenario, scenario.requests)
            rows[_EACH_SECOND].append(row)
    return report(scenario, rows)


def _print_whole(info: StackInfo, gateway: System, arguments: argparse.Namespace) -> None:
    print(f"\n{WHOLE}")
    for line in measure_whole(
        info,
        gateway,
        example_body(gateway.model),
        requests=arguments.requests,
        rounds=arguments.rounds,
    ):
        print(f"  {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--only", default="", help="the scenarios whose names have this in them")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        help="runs bare relay and gateway with this interpreter as well; may be repeated",
    )
    parser.add_argument("--soak", type=int, help="only watch the memory over that many requests")
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
    print(f"Python {platform.python_version()}, {platform.machine()}, commit {commit or '?'}")
    with systems(pythons=arguments.python) as (info, measured):
        if arguments.soak:
            for line in soak(measured[-1], arguments.soak):
                print(line, flush=True)
            return
        for scenario in scenarios(arguments.requests):
            if arguments.only in scenario.name:
                print("\n".join(_compare(scenario, info, measured, arguments.rounds)), flush=True)
        if arguments.only in WHOLE:
            _print_whole(info, measured[-1], arguments)
        for system in measured:
            for name, rss in system.rss_mb().items():
                print(f"RSS {name}: {rss:.0f} MB")
        admissions = uvloop.run(measure_admission(info, arguments.rounds))
        print("\n".join(admission_lines(admissions)), flush=True)


if __name__ == "__main__":
    main()
