"""A backup's settings, read from the environment."""

import msgspec

from libs.common.logging import LogFormat, LogLevel
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import check_mongo_uri
from libs.common.storage.redis.url import check_redis_url


class BackupSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Field `name` is the variable `NAME`."""

    mongo_uri: Secret
    redis_url: Secret | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"

    def __post_init__(self) -> None:
        check_mongo_uri(self.mongo_uri.reveal())
        if self.redis_url is not None:
            check_redis_url(self.redis_url.reveal())
