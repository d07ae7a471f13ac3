"""`make test-dates`: runs unit and service tests at dates, times of day and in zones that are odd.

Left out is what compares the wall clock with times that the kernel keeps: the local stack, which
tells a process by when it started, and all that starts one (`tests/e2e`, `tests/chaos`).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.children import tied
from tests.dates.clock import can_build, library, moved

TESTS = ("tests/unit", "tests/service")
LEFT_OUT = ("tests/unit/deploy", "tests/service/local")
# When it is (UTC), and where.
DATES = (
    # The year ends while the tests run; in the zone it has begun already.
    ("2026-12-31T23:58:00", "Pacific/Kiritimati"),
    # Half a minute before the zone's summer time begins.
    ("2027-03-28T00:59:30", "Europe/London"),
    # A day that is not in every year.
    ("2028-02-29T12:00:00", "America/New_York"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", action="append", help="another time: 2027-01-03T23:58:00 (UTC)")
    parser.add_argument("--zone", default="UTC", help="in which it is that time")
    parser.add_argument("--if-possible", action="store_true", help="succeed without a compiler")
    parser.add_argument("tests", nargs="*", default=TESTS, help="files or directories")
    arguments = parser.parse_args()
    dates = [(at, arguments.zone) for at in arguments.at] if arguments.at else DATES
    if not can_build():
        print("make test-dates: needs Linux and a C compiler (cc)", file=sys.stderr)
        return 0 if arguments.if_possible else 1
    with tempfile.TemporaryDirectory(prefix="dates-") as directory:
        preloaded = library(Path(directory))
        failed = [at for at, zone in dates if not _passes(preloaded, at, zone, arguments.tests)]
    print(f"failed at {', '.join(failed)}" if failed else "passed at every date")
    return 1 if failed else 0


def _passes(preloaded: Path, at: str, zone: str, tests: list[str]) -> bool:
    print(f"\nAs if it were {at} UTC in {zone}", flush=True)
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    command = (
        *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"),
        *(f"--ignore={path}" for path in LEFT_OUT),
        *tests,
    )
    # Properties are tried by the other runs; this one is about the date.
    environment = {"HYPOTHESIS_PROFILE": "dev", **os.environ}
    done = subprocess.run(tied(command), env=moved(environment, preloaded, now, zone), check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
