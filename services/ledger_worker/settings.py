"""The ledger worker's settings, read from the environment; `.env.example` explains each one."""

from socket import gethostname
from typing import Annotated

import msgspec
from msgspec import Meta

from libs.common.logging import LogFormat, LogLevel
from libs.common.settings import (
    Secret,
    SettingsError,
    check_header,
    check_http_url,
    check_rollup_tags,
)
from libs.common.storage.mongo.driver import check_mongo_uri
from libs.common.storage.redis.url import check_redis_url
from libs.common.web.destinations import allowed_hosts


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable, by its name in lower case. Times in seconds."""

    mongo_uri: Secret
    redis_url: Secret
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    price_map_path: str | None = None

    # Distinguishes workers on one host, by their health keys; the host's name by default. On a
    # cluster, workers with one name take the same share.
    worker_name: str = ""
    worker_max_jobs: Annotated[int, Meta(ge=1, le=1000)] = 256
    # After this time another worker claims the jobs of a worker that was killed.
    worker_job_timeout_s: Annotated[int, Meta(ge=1, le=600)] = 20
    # The interval of the sweep for calls whose gateway died.
    worker_sweep_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    # The intervals of the ledger's proof and of settling unpriced entries; 0 disables either.
    worker_verify_s: Annotated[int, Meta(ge=0, le=86_400)] = 300
    worker_reprice_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    # How often the proof reads each account from its first entry on.
    worker_verify_full_days: Annotated[int, Meta(ge=1, le=90)] = 7
    # How old sums grow before they are added to the rollups: the longer, the fewer writes, and the
    # more that whoever reads the rollups has to add to them.
    worker_roll_up_s: Annotated[int, Meta(ge=1, le=3600)] = 300
    # Hosts that alerts may be sent to without TLS, or at addresses that are not public.
    alert_allowed_hosts: str = ""
    # How long a gateway's spool may have records before receivers of alerts are told.
    alert_spool_s: Annotated[int, Meta(ge=5, le=86_400)] = 60
    # How long before they expire receivers are told of keys.
    alert_key_days: Annotated[int, Meta(ge=1, le=365)] = 7
    # Names of the tags by whose values usage can be summed, with commas.
    rollup_tags: str = ""
    # Whether each posted call is a line of the log.
    log_calls: bool = False
    # Where the spans of calls are sent, without `/v1/traces`; empty sends none.
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_headers: Secret | None = None
    # The share of the calls without a client's trace that are sent.
    otel_traces_sampler_arg: Annotated[float, Meta(ge=0, le=1)] = 1.0
    # On SIGTERM, how long running jobs may take to finish.
    worker_grace_s: Annotated[int, Meta(ge=0, le=600)] = 25
    worker_metrics_host: str = "0.0.0.0"  # noqa: S104 - scraped from outside its container
    # 0 disables the metrics.
    worker_metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 9100

    def __post_init__(self) -> None:
        check_mongo_uri(self.mongo_uri.reveal())
        check_redis_url(self.redis_url.reveal())
        check_rollup_tags(self.rollup_tags)
        allowed_hosts(self.alert_allowed_hosts)
        if self.otel_exporter_otlp_endpoint:
            check_http_url("OTEL_EXPORTER_OTLP_ENDPOINT", self.otel_exporter_otlp_endpoint)
        _check_otlp_headers(self.otel_exporter_otlp_headers)

    @property
    def name(self) -> str:
        return self.worker_name or gethostname()


def _check_otlp_headers(headers: Secret | None) -> None:
    """The exporter leaves out what it cannot read. Raises SettingsError."""
    variable = "OTEL_EXPORTER_OTLP_HEADERS"
    check_header(variable, headers)
    parts = "" if headers is None else headers.reveal()
    if not all(part.partition("=")[0].strip() and "=" in part for part in parts.split(",") if part):
        raise SettingsError(f"{variable} is wrong: it must be name=value, separated by commas")
