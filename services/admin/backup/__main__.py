"""`python -m services.admin.backup dump|check|restore DIRECTORY`, for the database of MONGO_URI.

Its user may read all of it, to restore write all of it, which no service's own user may. With
REDIS_URL, `restore` also forgets the spend that Redis has copied, which is read again. Exits with
0 if it is done, else with 1 and one line.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import structlog

from libs.common.logging import configure_logging, describe_error
from libs.common.settings import load_or_exit
from libs.common.storage.mongo.driver import (
    MongoUnsuitable,
    PyMongoError,
    open_database,
    ping,
)
from libs.common.storage.redis.client import RedisError, open_redis
from libs.common.storage.redis.spend import forget_spend
from services.admin.backup.files import WrongBackup, check_files
from services.admin.backup.settings import BackupSettings
from services.admin.backup.work import dump, restore

_PROGRAM = "services.admin.backup"
# Of one batch, which may be large.
_OPERATION_TIMEOUT_S = 60.0

log = structlog.get_logger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_PROGRAM}")
    parser.add_argument("action", choices=("dump", "check", "restore"))
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.action == "check":
            manifest = check_files(arguments.directory)
            documents = sum(part.documents for part in manifest.collections)
            sys.stdout.write(f"{documents} documents, of {manifest.began_at.isoformat()}\n")
            return
        settings = load_or_exit(BackupSettings, os.environ)
        configure_logging("backup", settings.log_level, settings.log_format)
        asyncio.run(_run(settings, arguments.action, arguments.directory))
    except (WrongBackup, MongoUnsuitable) as error:
        sys.exit(f"{_PROGRAM}: {error}")
    except (PyMongoError, RedisError, OSError) as error:
        sys.exit(f"{_PROGRAM}: {describe_error(error)}")


async def _run(settings: BackupSettings, action: str, directory: Path) -> None:
    uri = settings.mongo_uri.reveal()
    async with open_database(uri) as database:
        await ping(database)
    if action == "restore" and settings.redis_url is not None:
        # First, since a restore cannot be repeated: where Redis fails, nothing is restored yet.
        async with open_redis(settings.redis_url.reveal(), max_connections=1) as redis:
            log.info("spend.forgotten", figures=await forget_spend(redis))
    async with open_database(uri, operation_timeout_s=_OPERATION_TIMEOUT_S) as database:
        if action == "dump":
            manifest = await dump(database, directory)
        else:
            manifest = await restore(database, directory)
    documents = sum(part.documents for part in manifest.collections)
    log.info("backup.done", action=action, documents=documents, began_at=manifest.began_at)


if __name__ == "__main__":
    main()
