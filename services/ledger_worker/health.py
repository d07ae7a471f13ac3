"""Whether a worker runs here: its health key, and the check that probes ask.

Probes run this every few seconds, so nothing heavy is imported.
"""

from socket import gethostname

import msgspec
from redis import Redis, RedisError

from libs.common.settings import Secret

# The worker renews its key at this interval, and the key lives one second longer.
HEALTH_INTERVAL_S = 5
_TIMEOUT_S = 2.0


class CheckSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The part of the worker's settings that the check needs."""

    redis_url: Secret
    worker_name: str = ""


def health_key(worker_name: str) -> str:
    """One key per worker: with arq's own, which all share, one worker answers for another."""
    return f"gateway:worker:{worker_name}:health"


def fault(settings: CheckSettings) -> str | None:
    """None where the worker is alive, else what is wrong in one line."""
    name = settings.worker_name or gethostname()
    try:
        with Redis.from_url(
            settings.redis_url.reveal(),
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
        ) as redis:
            alive = redis.exists(health_key(name))
    except (RedisError, ValueError) as error:
        return f"Redis cannot be asked: {type(error).__name__}: {error}"
    return None if alive else f"no sign of life from the ledger worker '{name}'"
