"""Limits the rate of requests with a wrong admin key.

Requests with the right key are neither counted nor limited.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

import msgspec
import structlog
from starlette.types import Scope

from services.admin.metrics import Metrics

log = structlog.get_logger(__name__)

# Requests per window, of one source and of all: an attacker may have many sources.
PER_SOURCE = 10
ALTOGETHER = 200
WINDOW_S = 60.0
_MAX_SOURCES = 1024
_IPV6_NETWORK_BITS = 64


class Throttle(msgspec.Struct, frozen=True):
    """`wait_s` is None below the limits. Only the first request above a limit is `notable`."""

    wait_s: int | None
    notable: bool


class _Window:
    __slots__ = ("count", "ends_at")

    def __init__(self, ends_at: float) -> None:
        self.count = 0
        self.ends_at = ends_at


class WrongKeys:
    """Counts in fixed windows; evicts the least recently counted sources."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = _Window(clock() + WINDOW_S)
        self._by_source: OrderedDict[str, _Window] = OrderedDict()

    def count(self, host: str) -> Throttle:
        """Counts a request with a wrong or missing key from that address."""
        now, source = self._clock(), _source_of(host)
        if self._all.ends_at <= now:
            self._all = _Window(now + WINDOW_S)
        window = self._by_source.pop(source, None)
        if window is None or window.ends_at <= now:
            window = _Window(now + WINDOW_S)
        self._by_source[source] = window
        if len(self._by_source) > _MAX_SOURCES:
            self._by_source.popitem(last=False)
        self._all.count += 1
        window.count += 1
        for counted, limit in ((window, PER_SOURCE), (self._all, ALTOGETHER)):
            if counted.count > limit:
                wait_s = math.ceil(counted.ends_at - now)
                return Throttle(wait_s, counted.count == limit + 1)
        return Throttle(None, True)


def count_guess(wrong_keys: WrongKeys, metrics: Metrics, scope: Scope) -> Throttle:
    """Counts it for the metrics and the log too."""
    host = (scope.get("client") or ("unknown",))[0]
    throttle = wrong_keys.count(host)
    is_slowed = throttle.wait_s is not None
    metrics.unauthenticated(slowed=is_slowed)
    if throttle.notable:
        log.warning("admin.unauthenticated", client=host, slowed=is_slowed)
    return throttle


def _source_of(host: str) -> str:
    """The /64 network of an IPv6 address: one host can use all of its addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(int(address) >> _IPV6_NETWORK_BITS)
    return str(address)
