"""The rows for processes: databases, caches, connections, memory, versions."""

from deploy.grafana.calls import quantiles
from deploy.grafana.panels import Panel, PanelQuery, PanelRow
from deploy.grafana.queries import gauge, metric_series, quantile, rate, ratio

_SERVICES = ("gateway", "ledger", "admin")


def of_each_service(metric: str, how: str) -> tuple[PanelQuery, ...]:
    """By database; the worker's names begin with `ledger`."""
    return tuple(
        PanelQuery(
            quantile(0.99, f"{service}_{metric}", "database")
            if how == "p99"
            else gauge(f"{service}_{metric}", "database", how=how),
            f"{service} {{{{database}}}}",
        )
        for service in _SERVICES
    )


DATABASES = PanelRow(
    "MongoDB and Redis",
    (
        Panel(
            "Time to answer, p99",
            "s",
            "Of a small read that each process makes every 5 s.",
            of_each_service("database_probe_seconds", "p99"),
        ),
        Panel(
            "Answers",
            "none",
            "1 while every process of a service gets its small reads answered.",
            of_each_service("database_up", "min"),
            ("DatabaseAway",),
            top=1,
        ),
        Panel(
            "Breakers",
            "none",
            "1 while no call of a gateway waits for the server.",
            (
                PanelQuery(
                    gauge("gateway_breaker_open", "breaker, instance"), "{{instance}} {{breaker}}"
                ),
            ),
            ("DatabaseAway",),
            top=1,
        ),
        Panel(
            "Memory of Redis",
            "percentunit",
            "Share of maxmemory: at 1 it rejects new work. 0 without a limit.",
            (PanelQuery(gauge("ledger_redis_memory_ratio", how="max"), "used"),),
            ("RedisFull",),
            top=1,
        ),
        Panel(
            "Redis rejects writes",
            "none",
            "1 while Redis refuses a gateway's writes because of its maxmemory.",
            (PanelQuery(gauge("gateway_redis_full", "instance", how="max"), "{{instance}}"),),
            ("RedisFull",),
            top=1,
        ),
        Panel(
            "Misses of caches",
            "percentunit",
            "Share of look-ups of settings that ask Redis or MongoDB.",
            (
                PanelQuery(
                    ratio(
                        rate("gateway_cache_lookups_total", "cache", 'result!="hit"'),
                        rate("gateway_cache_lookups_total", "cache"),
                    ),
                    "{{cache}}",
                ),
            ),
            ("InvalidationsDelayed",),
        ),
    ),
)

ADMIN = PanelRow(
    "Admin service",
    (
        Panel(
            "Requests by status",
            "reqps",
            "Of the API and the console.",
            (PanelQuery(rate("admin_requests_total", "status"), "{{status}}"),),
            stacked=True,
        ),
        Panel(
            "Time to answer",
            "s",
            "Of all requests.",
            quantiles("admin_request_seconds"),
        ),
        Panel(
            "Delayed invalidations",
            "ops",
            "Writes whose message to the gateways failed; their caches still expire.",
            (PanelQuery(rate("admin_invalidations_delayed_total", "kind"), "{{kind}}"),),
            ("InvalidationsDelayed",),
        ),
    ),
)

PROCESSES = PanelRow(
    "Processes",
    (
        Panel(
            "Memory",
            "bytes",
            "Resident memory of each process.",
            (PanelQuery(metric_series("process_resident_memory_bytes"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "CPU",
            "percentunit",
            "Share of one core. A gateway uses no more than one: at 0.8 add replicas.",
            (
                PanelQuery(
                    rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"
                ),
            ),
            ("OverheadHigh",),
        ),
        Panel(
            "Open files",
            "percentunit",
            "Share of the limit; every connection is one.",
            (
                PanelQuery(
                    f"{metric_series('process_open_fds')} / {metric_series('process_max_fds')}",
                    "{{job}} {{instance}}",
                ),
            ),
            ("UpstreamConnectionsRefused",),
        ),
        Panel(
            "Memory of request bodies",
            "bytes",
            "Small ones left out; MAX_BODIES_BYTES bounds it.",
            (PanelQuery(gauge("gateway_bodies_bytes", "instance"), "{{instance}}"),),
            ("BodiesRefused",),
        ),
        Panel(
            "Connections to providers",
            "short",
            "That calls under way have; UPSTREAM_MAX_CONNECTIONS bounds them.",
            (PanelQuery(gauge("gateway_upstream_connections", "instance"), "{{instance}}"),),
            ("UpstreamConnectionsRefused",),
        ),
        Panel(
            "Versions",
            "short",
            "Processes of each version: several while a rollout is under way.",
            tuple(
                PanelQuery(
                    gauge(f"{service}_build_info", "version, python", how="count"),
                    f"{service} {{{{version}}}}, Python {{{{python}}}}",
                )
                for service in _SERVICES
            ),
            stacked=True,
        ),
    ),
)

ROWS = (DATABASES, ADMIN, PROCESSES)
