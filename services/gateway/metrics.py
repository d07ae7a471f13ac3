"""What the gateway tells Prometheus. Labels are bounded: never a key, an account or a raw model."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from libs.common.build import report_build
from libs.common.storage.probes import Probes

CALLS = Counter(
    "gateway_calls_total",
    "Authenticated calls by how they ended.",
    ["format", "status", "http_status"],
)
# `reason`: the error's code, such as budget_exceeded, rate_limit_exceeded or model_not_priced.
REFUSED = Counter(
    "gateway_refused_total", "Authenticated calls that no provider was asked for.", ["reason"]
)
UNAUTHENTICATED = Counter(
    "gateway_unauthenticated_total", "Requests without a key that is known.", ["format"]
)
CALL_SECONDS = Histogram(
    "gateway_call_seconds",
    "Duration of calls, the provider's share included.",
    ["format"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
CALLS_OPEN = Gauge("gateway_calls_open", "Calls under way.")
BODIES_BYTES = Gauge(
    "gateway_bodies_bytes", "Memory that request bodies take, small ones left out."
)
BODIES_ARRIVING = Gauge("gateway_bodies_arriving", "Request bodies that have begun to arrive.")
# `account` or `process`: whose bound was reached.
BODIES_REFUSED = Counter(
    "gateway_bodies_refused_total", "Calls refused for the memory of request bodies.", ["bound"]
)
UPSTREAM_CONNECTIONS = Gauge(
    "gateway_upstream_connections", "Connections to providers that calls under way have."
)
# `account` or `process`: whose bound was reached.
UPSTREAM_CONNECTIONS_REFUSED = Counter(
    "gateway_upstream_connections_refused_total",
    "Calls refused since no connection to a provider was free.",
    ["bound"],
)
# `cause`: the gateway's own error code, status_429, status_5xx (also 3xx, 4xx), misconfigured or
# request.
ATTEMPTS_FAILED = Counter(
    "gateway_attempts_failed_total",
    "Tries of a deployment that failed, by provider and cause.",
    ["provider", "cause"],
)
# `scope`: for all accounts, or for one; the log event `deployment.cooling` names each and says why.
DEPLOYMENTS_COOLING = Gauge(
    "gateway_deployments_cooling", "Deployments that get no calls for a while.", ["scope"]
)
HOLDS_OPEN = Gauge("gateway_holds_open", "Holds of calls under way.")
CACHE_LOOKUPS = Counter(
    "gateway_cache_lookups_total",
    "Look-ups in the caches of settings in memory: hits, and misses, which ask Redis or MongoDB.",
    ["cache", "result"],
)
# `breaker`: the server that calls leave alone for a moment, since it did not answer.
BREAKER_OPEN = Gauge("gateway_breaker_open", "1 while no call waits for the server.", ["breaker"])
EVENTS_SPOOLED = Counter("gateway_events_spooled_total", "Usage events written to the spool.")
EVENTS_IN_MEMORY = Gauge(
    "gateway_events_in_memory",
    "Usage events that neither Redis nor the spool takes; they are lost with the process.",
)
SPOOL_LACKS_ROOM = Gauge(
    "gateway_spool_lacks_room", "1 while the spool has no room for the events of calls under way."
)
REDIS_FULL = Gauge("gateway_redis_full", "1 while Redis refuses writes because of its maxmemory.")
NOT_RECORDED = Counter(
    "gateway_calls_not_recorded_total",
    "Calls refused without an event, because nothing could be recorded.",
)
SPOOL_BYTES = Gauge(
    "gateway_spool_bytes", "Size of the spool's files with usage events, room for more included."
)
SPOOL_BACKLOG = Gauge("gateway_spool_backlog", "1 while usage events wait in the spool.")
BUDGET_WARNINGS = Counter(
    "gateway_budget_warnings_total", "Calls admitted although a soft limit is reached."
)
ADMITTED_WITHOUT_REDIS = Counter(
    "gateway_admitted_without_redis_total", "Calls admitted by policy while Redis was away."
)
# `queued`, or why it was dropped: full, queue_full, redis_away, failed.
RECORDINGS = Counter(
    "gateway_recordings_total", "Recordings of calls by what became of them.", ["end"]
)
# From 0 on: Prometheus does not see a series' first count as an increase.
for _end in ("queued", "full", "queue_full", "redis_away", "failed"):
    RECORDINGS.labels(_end)
for _bound in ("account", "process"):
    BODIES_REFUSED.labels(_bound)
    UPSTREAM_CONNECTIONS_REFUSED.labels(_bound)
DATABASES = Probes("gateway", REGISTRY)
report_build("gateway", REGISTRY)
