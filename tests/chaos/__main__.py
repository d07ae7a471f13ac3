"""`make chaos`: one run per seed. Exits 1 where a run's books do not balance."""

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from deploy.local.environment import without_settings
from deploy.local.stack import LocalStack
from tests.chaos.check import Findings, skip_an_increment
from tests.chaos.run import REPLICAS, SETTINGS, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=40, help="of load, for each seed")
    parser.add_argument("--fault", action="store_true", help="skip one $inc: the run must fail")
    arguments = parser.parse_args()
    failed = 0
    for seed in arguments.seeds:
        print(f"seed {seed}", flush=True)
        findings = _run(seed, arguments.seconds, fault=arguments.fault)
        print(f"  served {findings.served}, entries {dict(findings.entries)}")
        for fault in findings.faults:
            print(f"  FAULT {fault}")
        print("  the books balance" if not findings.faults else "  THE BOOKS DO NOT BALANCE")
        failed += bool(findings.faults)
    return 1 if failed else 0


def _run(seed: int, seconds: float, *, fault: bool) -> Findings:
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        stack = LocalStack(
            Path(directory),
            {**without_settings(os.environ), **SETTINGS},
            gateways=REPLICAS,
            workers=REPLICAS,
            free_ports=True,
        )
        try:
            stack.start()
            meddle = skip_an_increment if fault else None
            return asyncio.run(run(stack, seed=seed, seconds=seconds, say=_say, meddle=meddle))
        finally:
            stack.stop()


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
