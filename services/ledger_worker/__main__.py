"""`python -m services.ledger_worker` runs the worker until SIGTERM.

`--check` exits with 0 if a worker is alive, `--verify` if the ledger has no difference, both else
with 1. `--replay` puts the dead letters back on the queue; `--fill-segments` makes the sums of all
accounts together, once all workers are of this release, and exits with 0 if they are whole;
`--roll-up` adds to the rollups what they lack, before workers of an earlier release run again;
`--forget-spend` deletes Redis' copy of spend, which is made anew from MongoDB.
"""

import logging
import os
import sys

from libs.common.collector import uncollected
from libs.common.settings import load_or_exit
from libs.common.version import service_parser
from services.ledger_worker.health import CheckSettings, fault


def main() -> None:
    """Imports the other modes only when needed, so that `--check` starts fast."""
    parser = service_parser("services.ledger_worker")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="exit 0 if a worker is alive")
    mode.add_argument("--replay", action="store_true", help="put dead letters back on the queue")
    mode.add_argument(
        "--verify", action="store_true", help="prove the ledger; exit 1 on a difference"
    )
    mode.add_argument(
        "--fill-segments", action="store_true", help="make the segments of all days anew"
    )
    mode.add_argument(
        "--roll-up", action="store_true", help="add to the rollups all that they lack"
    )
    mode.add_argument(
        "--forget-spend", action="store_true", help="have Redis' copy of spend made anew"
    )
    parser.add_argument("--full", action="store_true", help="with --verify: read every entry again")
    arguments = parser.parse_args()
    if arguments.check:
        # It answers by one line, also while some servers of a cluster are away.
        logging.disable()
        reason = fault(load_or_exit(CheckSettings, os.environ))
        sys.exit(None if reason is None else f"services.ledger_worker: {reason}")

    with uncollected():
        # Before modules that import structlog: it hides from it what is not needed.
        from libs.common.logging import configure_logging  # noqa: PLC0415
        from services.ledger_worker import commands  # noqa: PLC0415
        from services.ledger_worker.process import run  # noqa: PLC0415
        from services.ledger_worker.settings import Settings  # noqa: PLC0415

    settings = load_or_exit(Settings, os.environ)
    configure_logging("ledger_worker", settings.log_level, settings.log_format)
    if arguments.verify:
        reason = commands.verify(settings, full=arguments.full)
    elif arguments.fill_segments:
        reason = commands.fill_segments(settings)
    elif arguments.roll_up:
        reason = commands.roll_up(settings)
    elif arguments.forget_spend:
        reason = commands.forget_copies(settings)
    else:
        reason = commands.replay(settings) if arguments.replay else run(settings)
    sys.exit(None if reason is None else f"services.ledger_worker: {reason}")


if __name__ == "__main__":
    main()
