"""`python -m services.admin` runs the admin service.

`--build-indexes` builds the indexes of all services that are missing, and ends: before an upgrade
of a large ledger, while the services of the earlier release go on.

`--shard-collections` builds them, too, and spreads the ledger over the shards of a MongoDB cluster
(docs/scale.md). Services go on meanwhile.
"""

from libs.common.collector import uncollected

with uncollected():
    import asyncio
    import os
    import sys

    from libs.common.arenas import share_arena
    from libs.common.logging import configure_logging
    from libs.common.settings import SettingsError, load_or_exit
    from libs.common.storage.mongo.driver import MongoUnsuitable, PyMongoError
    from libs.common.storage.redis.suitability import RedisUnsuitable
    from libs.common.version import service_parser
    from libs.common.web.server import serve
    from services.admin.app import create_app
    from services.admin.errors import refuse
    from services.admin.settings import Settings
    from services.admin.startup import check_start, migrate


def main() -> None:
    parser = service_parser("services.admin")
    parser.add_argument("--build-indexes", action="store_true", help="build what is missing, end")
    parser.add_argument(
        "--shard-collections", action="store_true", help="spread the ledger over shards, end"
    )
    arguments = parser.parse_args()
    # The driver of MongoDB has a dozen threads.
    share_arena()
    migrates = arguments.build_indexes or arguments.shard_collections
    settings = load_or_exit(Settings, os.environ)
    configure_logging("admin", settings.log_level, settings.log_format)
    try:
        if migrates:
            asyncio.run(migrate(settings, shard=arguments.shard_collections))
        else:
            asyncio.run(check_start(settings))
    except (SettingsError, MongoUnsuitable, RedisUnsuitable, PyMongoError) as error:
        sys.exit(f"services.admin: {error}")
    if migrates:
        return
    serve(
        create_app(settings),
        refuse=refuse,
        host=settings.admin_host,
        port=settings.admin_port,
        grace_s=settings.shutdown_grace_s,
        send_timeout_s=settings.send_timeout_s,
    )


if __name__ == "__main__":
    main()
