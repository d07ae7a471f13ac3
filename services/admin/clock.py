"""Times as the stores keep them: UTC, whole milliseconds."""

import os
import time
from datetime import UTC, datetime

from libs.common.domain.ids import uuid7


def utc_now() -> datetime:
    return to_utc_ms(datetime.now(UTC))


def to_utc_ms(at: datetime) -> datetime:
    """MongoDB stores milliseconds: finer times would differ between two responses."""
    utc = at.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def new_uuid7() -> str:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
