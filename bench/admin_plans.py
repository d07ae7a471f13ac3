"""What the questions ask of MongoDB, and whether an index answers it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.types import Receive, Scope, Send

from bench.admin_queries import Question
from deploy.local.state import StackInfo
from libs.common.logging import configure_logging
from libs.common.settings import Secret
from libs.common.storage.mongo.driver import Database, open_database
from libs.common.storage.redis.client import open_redis
from services.admin.app import create_app
from services.admin.settings import Settings
from services.admin.state import Resources
from tests.support.sent_commands import collection_of, sent_commands

# Kinds of questions that are about entries.
_OF_ENTRIES = ("list",)
# Each question once, on a busy machine.
_TIMEOUT_S = 120.0


async def check_plans(info: StackInfo, questions: Sequence[Question]) -> int:
    """Returns the number of queries. Raises RuntimeError for one that scans entries."""
    configure_logging("bench", "warning", "console")
    count = 0
    settings = Settings(
        mongo_uri=Secret(info.mongo_uri),
        redis_url=Secret(info.redis_url),
        admin_api_key=Secret(info.admin_api_key),
    )
    async with (
        open_database(info.mongo_uri, operation_timeout_s=_TIMEOUT_S) as database,
        open_redis(info.redis_url) as redis,
        _admin_api(settings, Resources(database=database, redis=redis)) as admin,
    ):
        for question in questions:
            with sent_commands() as commands:
                (await admin.get(question.path)).raise_for_status()
            queries = [each for each in commands if each.keys() & {"find", "aggregate"}]
            count += len(queries)
            for query in queries:
                if collection_of(query) == "entries":
                    await _check(database, question, query)
    return count


@asynccontextmanager
async def _admin_api(settings: Settings, resources: Resources) -> AsyncIterator[httpx2.AsyncClient]:
    @asynccontextmanager
    async def open_resources(_: Settings) -> AsyncIterator[Resources]:
        yield resources

    app = create_app(settings, open_resources=open_resources)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(with_state),
            base_url="http://admin",
            headers={"authorization": f"Bearer {settings.admin_api_key.reveal()}"},
        ) as client:
            yield client


async def _check(database: Database, question: Question, command: Mapping[str, Any]) -> None:
    if question.kind not in _OF_ENTRIES:
        raise RuntimeError(f"{question.path} reads entries: {command}")
    # What bounds the rows of an index comes first, by itself.
    query = command["filter"] if "find" in command else command["pipeline"][0]["$match"]
    if not query:
        raise RuntimeError(f"{question.path} bounds no index of entries: {command}")
    explanation = await database["entries"].find(query).explain()
    stages = str(explanation["queryPlanner"]["winningPlan"])
    if "COLLSCAN" in stages:
        raise RuntimeError(f"{question.path} scans entries: {query}")
