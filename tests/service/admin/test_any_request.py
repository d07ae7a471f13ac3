"""Whatever a client sends to the admin service: it is answered as documented, or refused.

`make test-api` runs it; a run of all tests leaves it out.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.app import create_app
from services.admin.settings import Settings
from services.admin.state import Resources
from tests.service.admin.conftest import ADMIN_KEY
from tests.support.sockets import serving

_EXAMPLES = 10
_NOT_CHECKED = (
    # A request that fits the schema may still name what there is not, or contradict itself.
    "positive_data_acceptance",
    # Guesses at the key are slowed after a few: a 429 in place of a 401.
    "ignored_auth",
    "missing_required_header",
    # The name of a route may end like another path does: `/admin/models/a/test`.
    "unsupported_method",
)


@pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "long", reason="takes minutes; `make test-api` runs it"
)
async def test_any_request_is_answered_as_documented(
    settings: Settings, database: Database, redis: Redis, tmp_path: Path
) -> None:
    @asynccontextmanager
    async def resources(_: Settings) -> AsyncIterator[Resources]:
        yield Resources(database=database, redis=redis)

    app = create_app(settings, open_resources=resources, correction_wait_s=0.05)
    async with serving(app) as url:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {ADMIN_KEY}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(_EXAMPLES)),
            *("--checks", "all", "--exclude-checks", ",".join(_NOT_CHECKED)),
            # It has every refused request so far, and grows with each.
            *("--exclude-path", "/admin/audit/export"),
            *("--continue-on-failure", "--seed", "1", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
