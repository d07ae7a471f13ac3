"""The rows for clients: traffic, time, failures and refusals."""

from deploy.grafana.panels import Panel, PanelQuery, PanelRow
from deploy.grafana.queries import GEN_AI, OF_MODEL, gauge, quantile, rate, ratio

_CALLS = "gateway_calls_total"
_FAILED = 'http_status=~"50.",status!="client_closed"'
_TTFT = "gen_ai_client_operation_time_to_first_chunk_seconds"
_OVERHEAD = "ledger_call_overhead_seconds"


def quantiles(histogram: str, by: str = "", where: str = "") -> tuple[PanelQuery, ...]:
    """The median, the 90th and the 99th percentile."""
    name = f"{{{{{by}}}}} " if by else ""
    return tuple(
        PanelQuery(quantile(share, histogram, by, where), f"{name}p{round(share * 100)}")
        for share in (0.5, 0.9, 0.99)
    )


OVERVIEW = PanelRow(
    "Overview",
    (
        Panel(
            "Calls a second",
            "reqps",
            "Authenticated calls that ended, refused ones included.",
            (PanelQuery(rate(_CALLS), "calls"),),
            single=True,
            width=4,
        ),
        Panel(
            "Calls that fail",
            "percentunit",
            "Share of calls that end with a 5xx, those left out whose client hung up.",
            (
                PanelQuery(
                    ratio(f"({rate(_CALLS, where=_FAILED)} or vector(0))", rate(_CALLS)), "5xx"
                ),
            ),
            ("CallsFailing",),
            single=True,
            red_from=0.05,
            width=4,
        ),
        Panel(
            "First byte, p90",
            "s",
            "One in ten streams takes longer to begin.",
            (PanelQuery(quantile(0.9, _TTFT, where=GEN_AI), "p90"),),
            ("ProviderSlow",),
            single=True,
            red_from=10,
            width=4,
        ),
        Panel(
            "Cost an hour",
            "currencyUSD",
            "At the rate of the last minutes; the ledger is exact, this is rounded.",
            (PanelQuery(f"3600 * {rate('ledger_cost_usd_total', where=OF_MODEL)}", "cost"),),
            single=True,
            width=4,
        ),
        Panel(
            "Oldest event",
            "s",
            "Age of the oldest usage event that waits to be posted.",
            (PanelQuery(gauge("ledger_queue_oldest_seconds", how="max"), "oldest"),),
            ("QueueOld",),
            single=True,
            red_from=60,
            width=4,
        ),
        Panel(
            "Alerts that fire",
            "short",
            "How many of deploy/prometheus/alerts.yml; each says what to do as runbook_url.",
            (
                PanelQuery(
                    'count(ALERTS{alertstate="firing",severity=~"critical|warning"}) or vector(0)',
                    "alerts",
                ),
            ),
            single=True,
            red_from=1,
            width=4,
        ),
    ),
)

TRAFFIC = PanelRow(
    "Traffic",
    (
        Panel(
            "Calls by end",
            "reqps",
            "Authenticated calls by how they ended: ok, refused by the gateway, failed at the "
            "provider, left by the client.",
            (PanelQuery(rate(_CALLS, "status"), "{{status}}"),),
            stacked=True,
        ),
        Panel(
            "Calls by format",
            "reqps",
            "By the API that the client speaks.",
            (PanelQuery(rate(_CALLS, "format"), "{{format}}"),),
            stacked=True,
        ),
        Panel(
            "Calls under way",
            "short",
            "Open calls and the request bodies that have begun to arrive, of each gateway.",
            (
                PanelQuery(gauge("gateway_calls_open", "instance"), "{{instance}} calls"),
                PanelQuery(gauge("gateway_bodies_arriving", "instance"), "{{instance}} bodies"),
            ),
        ),
        Panel(
            "Duration of calls",
            "s",
            "From the call's arrival to its last byte, the provider's share included.",
            quantiles("gateway_call_seconds"),
        ),
        Panel(
            "Duration by format",
            "s",
            "Median by the API that the client speaks.",
            (PanelQuery(quantile(0.5, "gateway_call_seconds", "format"), "{{format}}"),),
        ),
        Panel(
            "The gateway's own share",
            "s",
            "What the gateway adds to a call, by relayed or translated.",
            (
                PanelQuery(quantile(0.5, _OVERHEAD, "path"), "{{path}} p50"),
                PanelQuery(quantile(0.99, _OVERHEAD, "path"), "{{path}} p99"),
            ),
            ("OverheadHigh",),
        ),
    ),
)

ERRORS = PanelRow(
    "Errors and refusals",
    (
        Panel(
            "Answers by HTTP status",
            "reqps",
            "Calls that did not end with a 200. 502 to 504 are providers' or the gateway's, a 4xx "
            "the client's; 408 is a client that did not send its body.",
            (PanelQuery(rate(_CALLS, "http_status", 'http_status!="200"'), "{{http_status}}"),),
            ("CallsFailing", "BodiesLate"),
        ),
        Panel(
            "Failed tries by cause",
            "ops",
            "Failed tries of deployments. misconfigured is a wrong key or model name, request "
            "what the provider says of the client's own request.",
            (
                PanelQuery(
                    rate(
                        "gateway_attempts_failed_total",
                        "provider, cause",
                        'provider=~"$provider"',
                    ),
                    "{{provider}} {{cause}}",
                ),
            ),
            ("ProviderFailing", "ProviderMisconfigured"),
        ),
        Panel(
            "Refusals by reason",
            "reqps",
            "Calls that no provider was asked for: budgets, limits, prices, bounds.",
            (PanelQuery(rate("gateway_refused_total", "reason"), "{{reason}}"),),
            ("BudgetRefusals", "RateLimitRefusals"),
        ),
        Panel(
            "Unknown keys",
            "reqps",
            "Requests without a key that is known, of gateway and admin service.",
            (
                PanelQuery(rate("gateway_unauthenticated_total", "format"), "gateway {{format}}"),
                PanelQuery(rate("admin_unauthenticated_total", "answer"), "admin {{answer}}"),
            ),
            ("CallsUnauthenticated", "AdminUnauthenticated"),
        ),
        Panel(
            "Refused for a bound",
            "reqps",
            "For the memory of bodies, for connections to providers, and because nothing could be "
            "recorded. process is the bound of the whole gateway, account one account's share.",
            (
                PanelQuery(rate("gateway_bodies_refused_total", "bound"), "bodies {{bound}}"),
                PanelQuery(
                    rate("gateway_upstream_connections_refused_total", "bound"),
                    "connections {{bound}}",
                ),
                PanelQuery(rate("gateway_calls_not_recorded_total"), "not recorded"),
            ),
            ("BodiesRefused", "UpstreamConnectionsRefused", "CallsNotRecorded"),
        ),
        Panel(
            "Clients that do not read",
            "ops",
            "Connections that were closed, since the client did not read its response.",
            (PanelQuery(rate("http_responses_unread_total", "job"), "{{job}}"),),
            ("ResponsesUnread",),
        ),
    ),
)

ROWS = (OVERVIEW, TRAFFIC, ERRORS)
