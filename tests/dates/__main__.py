"""`make test-dates`: runs tests at dates, times of day and in zones that are odd.

By default those of the units and the services, at each of the dates.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.children import tied
from tests.dates.clock import can_build, library, moved
from tests.support import scratch

TESTS = ("tests/unit", "tests/service")
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
    parser.add_argument("--or-today", action="store_true", help="without a compiler, run them now")
    parser.add_argument("tests", nargs="*", default=TESTS, help="what pytest takes, after --")
    arguments = parser.parse_args()
    # Properties are tried by the other runs; this one is about the date.
    environment = {"HYPOTHESIS_PROFILE": "dev", **os.environ}
    if not can_build():
        print("a date needs Linux and a C compiler (cc)", file=sys.stderr)
        passes = arguments.or_today and _passes(arguments.tests, environment)
        return 0 if passes else 1
    dates = [(at, arguments.zone) for at in arguments.at] if arguments.at else DATES
    # The tests' files lie apart: pytest removes what other runs left days ago, and by this clock a
    # run that is under way elsewhere has long ended. The library does not lie in memory, which
    # containers mount noexec.
    with (
        tempfile.TemporaryDirectory(prefix="dates-", dir=scratch.in_memory()) as files,
        tempfile.TemporaryDirectory(prefix="clock-") as directory,
    ):
        environment |= {"PYTEST_DEBUG_TEMPROOT": files}
        preloaded = library(Path(directory))
        failed = []
        for at, zone in dates:
            print(f"\nAs if it were {at} UTC in {zone}", flush=True)
            now = datetime.fromisoformat(at).replace(tzinfo=UTC)
            if not _passes(arguments.tests, moved(environment, preloaded, now, zone)):
                failed.append(at)
    # Of one date pytest's summary says it.
    if len(dates) > 1:
        print(f"failed at {', '.join(failed)}" if failed else "passed at every date")
    return 1 if failed else 0


def _passes(tests: Sequence[str], environment: Mapping[str, str]) -> bool:
    command = (sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", *tests)
    return subprocess.run(tied(command), env=dict(environment), check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
