"""The admin service's settings, read from the environment."""

from time import monotonic
from typing import Annotated

import msgspec

from libs.common.logging import LogFormat, LogLevel
from libs.common.settings import Secret, SettingsError, check_http_url, check_rollup_tags
from libs.common.storage.mongo.driver import check_mongo_uri
from libs.common.storage.redis.url import check_redis_url
from libs.common.web.destinations import allowed_hosts
from services.admin.clock import utc_now
from services.admin.people.sign_on import SignOnSettings, sign_on

_MIN_KEY_LENGTH = 16
# The service's name in a cluster and under compose.
GATEWAY_URL = "http://gateway:8000"


class Settings(SignOnSettings, frozen=True, kw_only=True):
    """Field `name` is the variable `NAME`. The URIs may hold passwords, so they are secrets too."""

    mongo_uri: Secret
    redis_url: Secret
    admin_api_key: Secret
    # A second root key, while the first is replaced.
    admin_api_key_next: Secret | None = None
    admin_host: str = "0.0.0.0"  # noqa: S104 - a container's own address is not known beforehand
    admin_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8001
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"
    # None reads the map inside the installed litellm package, if there is one.
    price_map_path: str | None = None
    # The gateway that tests of routes call.
    gateway_url: str = GATEWAY_URL
    # How long a client may leave a response unread.
    send_timeout_s: Annotated[int, msgspec.Meta(ge=1)] = 60
    # How long the body of a request may take.
    body_timeout_s: Annotated[int, msgspec.Meta(ge=1)] = 30
    shutdown_grace_s: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 30
    # Names of the tags by whose values usage can be summed, as the worker has them.
    rollup_tags: str = ""
    # Hosts that alerts may be sent to without TLS, or at addresses that are not public.
    alert_allowed_hosts: str = ""
    # How long the start waits for MongoDB before it gives up.
    mongo_wait_s: Annotated[int, msgspec.Meta(ge=1, le=600)] = 30

    def __post_init__(self) -> None:
        check_mongo_uri(self.mongo_uri.reveal())
        check_redis_url(self.redis_url.reveal())
        _check_key("ADMIN_API_KEY", self.admin_api_key)
        if self.admin_api_key_next is not None:
            _check_key("ADMIN_API_KEY_NEXT", self.admin_api_key_next)
        check_http_url("GATEWAY_URL", self.gateway_url)
        check_rollup_tags(self.rollup_tags)
        allowed_hosts(self.alert_allowed_hosts)
        sign_on(self, utc_now, monotonic)

    @property
    def root_keys(self) -> tuple[Secret, ...]:
        """Either key is valid."""
        next_key = self.admin_api_key_next
        return (self.admin_api_key,) if next_key is None else (self.admin_api_key, next_key)


def _check_key(variable: str, key: Secret) -> None:
    if len(key.reveal()) < _MIN_KEY_LENGTH:
        raise SettingsError(
            f"{variable} is too short: it needs at least {_MIN_KEY_LENGTH} characters. "
            "`openssl rand -hex 32` makes a good one."
        )
