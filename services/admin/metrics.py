"""The admin service's Prometheus metrics."""

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response

from libs.common.build import report_build
from libs.common.schemas.invalidation import InvalidationKind
from libs.common.storage.probes import Probes

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})


class Metrics:
    """One per app, so that two apps in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "admin_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "admin_request_seconds",
            "Time to answer.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._delayed = Counter(
            "admin_invalidations_delayed",
            "Writes whose invalidation failed; gateway caches expire by their TTL.",
            ("kind",),
            registry=self.registry,
        )
        self._unauthenticated = Counter(
            "admin_unauthenticated",
            "Requests under /admin without the key: refused (401) or slowed (429).",
            ("answer",),
            registry=self.registry,
        )
        # From 0 on: Prometheus does not see a series' first count as an increase.
        for kind in get_args(InvalidationKind):
            self._delayed.labels(kind)
        for answer in ("refused", "slowed"):
            self._unauthenticated.labels(answer)
        self.dead_letters = Gauge(
            "admin_dead_letters",
            "Deliveries that could not be posted and wait for an administrator.",
            registry=self.registry,
        )

        self.databases = Probes("admin", self.registry)
        report_build("admin", self.registry)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        # A client may send any word as a method; each would become a series of its own.
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def delayed(self, kind: str) -> None:
        self._delayed.labels(kind).inc()

    def unauthenticated(self, *, slowed: bool) -> None:
        self._unauthenticated.labels("slowed" if slowed else "refused").inc()

    def response(self) -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)
