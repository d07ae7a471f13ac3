"""What the environment decides about the gateway; `.env.example` explains each variable."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from libs.common.logging import LogFormat, LogLevel
from libs.common.settings import Secret, SettingsError, check_header, check_http_url
from libs.common.storage.mongo.driver import check_mongo_uri
from libs.common.storage.redis.url import check_redis_url
from services.gateway.calls.sent_headers import sent_headers
from services.gateway.cors import origins_of

Port = Annotated[int, Meta(ge=1, le=65535)]
Positive = Annotated[int, Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable, by its name in lower case. Times in seconds, sizes in bytes."""

    mongo_uri: Secret
    redis_url: Secret
    gateway_host: str = "0.0.0.0"  # noqa: S104 - a container's service listens on its interface
    gateway_port: Port = 8000
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"

    openai_api_key: Secret | None = None
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_api_key: Secret | None = None
    anthropic_base_url: str = "https://api.anthropic.com"
    price_map_path: str | None = None
    secrets_dir: str = "/run/secrets"
    allow_unrouted_models: bool = True

    admission_without_redis: Literal["open", "closed"] = "open"
    # How many replicas of Redis have to acknowledge a usage event before its call ends.
    redis_wait_replicas: Annotated[int, Meta(ge=0, le=10)] = 0
    default_max_output_tokens: Positive = 4096
    hold_lease_s: Annotated[int, Meta(ge=10)] = 120
    cache_ttl_s: Positive = 30
    cache_max_items: Positive = 50_000
    # With MongoDB away, what is cached goes on working for so many times the cache's time.
    cache_grace_factor: Annotated[int, Meta(ge=1, le=1000)] = 10

    max_body_bytes: Positive = 32 * 1024 * 1024
    # Of all calls under way together.
    max_bodies_bytes: Positive = 512 * 1024 * 1024
    # How long a client may leave unread what it is sent.
    send_timeout_s: Positive = 60
    # For how long nothing of a body may arrive.
    body_timeout_s: Positive = 30
    # The most that one account may have of what a process shares: bodies' bytes, connections.
    account_share_percent: Annotated[int, Meta(ge=1, le=100)] = 50
    max_answer_bytes: Positive = 64 * 1024 * 1024
    upstream_connect_timeout_s: Positive = 10
    upstream_read_timeout_s: Positive = 600
    upstream_total_timeout_s: Positive = 3600
    keepalive_s: Positive = 15
    # Of each side of a call; a document of MongoDB has to hold both.
    recording_max_bytes: Annotated[int, Meta(ge=1024, le=1024 * 1024)] = 256 * 1024
    upstream_max_connections: Positive = 1000
    # How long a call waits for one of them to become free.
    upstream_pool_timeout_s: Positive = 10
    # Names of clients' headers that reach providers beside those that every gateway sends on.
    upstream_request_headers: str = ""

    spool_dir: str = "spool"
    spool_max_bytes: Positive = 1024 * 1024 * 1024
    shutdown_grace_s: Positive = 60
    # Origins separated by commas, or `*`; empty is none.
    cors_allow_origins: str = ""

    def __post_init__(self) -> None:
        check_mongo_uri(self.mongo_uri.reveal())
        check_redis_url(self.redis_url.reveal())
        check_header("OPENAI_API_KEY", self.openai_api_key)
        check_header("ANTHROPIC_API_KEY", self.anthropic_api_key)
        check_http_url("OPENAI_BASE_URL", self.openai_base_url)
        check_http_url("ANTHROPIC_BASE_URL", self.anthropic_base_url)
        try:
            sent_headers(self.upstream_request_headers)
        except ValueError as error:
            raise SettingsError(f"UPSTREAM_REQUEST_HEADERS is wrong: {error}") from None
        if self.max_bodies_bytes < self.max_body_bytes:
            raise SettingsError(
                "MAX_BODIES_BYTES is wrong: it must be at least MAX_BODY_BYTES "
                f"({self.max_body_bytes})"
            )
        origins_of(self.cors_allow_origins)
