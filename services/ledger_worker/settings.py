"""What the environment decides about the ledger worker; `.env.example` explains each variable."""

from socket import gethostname
from typing import Annotated

import msgspec
from msgspec import Meta

from libs.common.logging import LogFormat, LogLevel
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import check_mongo_uri
from libs.common.storage.redis.url import check_redis_url


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable, by its name in lower case. Times in seconds."""

    mongo_uri: Secret
    redis_url: Secret
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    price_map_path: str | None = None

    # Tells apart the health of workers that share a host; the host's name by default.
    worker_name: str = ""
    worker_max_jobs: Annotated[int, Meta(ge=1, le=1000)] = 64
    # A job of a worker that was killed is taken up by another one after this time.
    worker_job_timeout_s: Annotated[int, Meta(ge=1, le=600)] = 20
    # How often calls are looked for whose gateway died.
    worker_sweep_s: Annotated[int, Meta(ge=1, le=3600)] = 10
    # How often a turn of the ledger's proof is due, and entries without a price are looked at
    # again; 0 switches either off.
    worker_verify_s: Annotated[int, Meta(ge=0, le=86_400)] = 300
    worker_reprice_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    # Where to say that a soft limit is reached; not set, nobody is told.
    budget_webhook_url: Secret | None = None
    # On SIGTERM, how long jobs under way may take to finish.
    worker_grace_s: Annotated[int, Meta(ge=0, le=600)] = 25
    worker_metrics_host: str = "0.0.0.0"  # noqa: S104 - scraped from outside its container
    # 0 switches the metrics off.
    worker_metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 9100

    def __post_init__(self) -> None:
        check_mongo_uri(self.mongo_uri.reveal())
        check_redis_url(self.redis_url.reveal())

    @property
    def name(self) -> str:
        return self.worker_name or gethostname()
