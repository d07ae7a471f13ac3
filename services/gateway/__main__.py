"""`python -m services.gateway`: settings from the environment, then uvicorn until SIGTERM."""

from libs.common.collector import uncollected

with uncollected():
    import asyncio
    import os
    import sys
    from pathlib import Path

    from libs.common.logging import configure_logging
    from libs.common.settings import SettingsError, load_or_exit
    from libs.common.storage.prices.price_map import open_price_map
    from libs.common.storage.redis.client import open_redis
    from libs.common.storage.redis.suitability import RedisUnsuitable, check_if_there, listens
    from libs.common.version import service_parser
    from libs.common.web.server import serve
    from services.gateway.app import create_app
    from services.gateway.directory.provider_endpoints import read_providers
    from services.gateway.endpoints.refusals import refuse
    from services.gateway.settings import Settings
    from services.gateway.spool.spool import Spool


def main() -> None:
    service_parser("services.gateway").parse_args()
    settings = load_or_exit(Settings, os.environ)
    configure_logging("gateway", settings.log_level, settings.log_format)
    try:
        check_start(settings)
    except (SettingsError, RedisUnsuitable) as error:
        sys.exit(f"services.gateway: {error}")
    serve(
        create_app(settings),
        refuse=refuse,
        host=settings.gateway_host,
        port=settings.gateway_port,
        grace_s=settings.shutdown_grace_s,
        send_timeout_s=settings.send_timeout_s,
    )


def check_start(settings: Settings) -> None:
    """Raises SettingsError and RedisUnsuitable.

    Databases and providers may be away: calls cope with that.
    """
    open_price_map(settings.price_map_path)
    read_providers(settings, os.environ)
    spool = Spool(Path(settings.spool_dir), max_bytes=settings.spool_max_bytes)
    try:
        spool.open()
    except OSError as error:
        raise SettingsError(f"SPOOL_DIR cannot be written: {error}") from None
    spool.close()
    asyncio.run(_check_redis(settings.redis_url.reveal()))


async def _check_redis(url: str) -> None:
    async with open_redis(url, max_connections=1) as redis:
        await check_if_there(redis, listens)


if __name__ == "__main__":
    main()
