"""`GET /admin/doctor`: all checks that the admin service can make."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from starlette.requests import Request

from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.driver import MongoUnsuitable, PyMongoError
from libs.common.storage.mongo.index import missing_indexes
from libs.common.storage.mongo.server_facts import read_mongo_facts
from libs.common.storage.mongo.slices import Slice
from libs.common.storage.prices.price_map import map_file
from libs.common.storage.redis.answers import answers_of, first_answer
from libs.common.storage.redis.client import RedisError, nodes_of
from libs.common.storage.redis.replicas import ReplicaStore, redis_time_ms
from libs.common.storage.redis.server_facts import read_redis_facts
from libs.common.version import VERSION
from libs.common.web.http_client import HttpUnreachable
from services.admin.doctor.findings import Area, Finding, FindingVerdict, worst
from services.admin.doctor.ledger import ledger_findings
from services.admin.doctor.mongo import index_findings, mongo_findings
from services.admin.doctor.prices import price_findings
from services.admin.doctor.redis import cluster_findings
from services.admin.doctor.replicas import replica_findings
from services.admin.endpoints import Answer
from services.admin.ledger_health import HealthQuery, show_ledger_health
from services.admin.state import State

_TIMEOUT_S = 15.0
_OK = 200
_AWAY = (PyMongoError, MongoUnsuitable, RedisError, OSError, TimeoutError)
_MENDS = {
    "mongodb": "see that MongoDB runs and MONGO_URI is right",
    "redis": "see that Redis runs and REDIS_URL is right",
}

log = structlog.get_logger(__name__)


class DoctorView(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is the worst of the findings'; `version` is this service's."""

    verdict: FindingVerdict
    version: str
    checked_at: datetime
    findings: tuple[Finding, ...]


async def examine(request: Request[State]) -> Answer[DoctorView]:
    """Reads only, calls no provider, and answers 200 whatever it finds."""
    state = request.state
    results = await asyncio.gather(
        _within("admin", _settings(state)),
        _within("mongodb", _mongo(state)),
        _within("redis", _redis(state)),
        _within("ledger", _ledger(request)),
        _within("gateway", _replicas(state)),
        _within("gateway", _gateway(state)),
        _within("prices", _prices(state)),
    )
    findings = tuple(finding for part in results for finding in part)
    return Answer(
        DoctorView(
            verdict=worst(findings),
            version=VERSION,
            checked_at=state["now"](),
            findings=findings,
        )
    )


async def _within(area: str, check: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    """A server that is away is a finding."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await check
    except _AWAY as error:
        log.warning("doctor.away", area=area, error=error)
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return [Area(area).fail("answers", reason, _MENDS.get(area))]


async def _settings(state: State) -> list[Finding]:
    area, settings = Area("admin"), state["settings"]
    found = [area.ok("version", VERSION)]
    if settings.admin_api_key_next is None:
        found.append(area.ok("root key", "one"))
    else:
        found.append(
            area.warn(
                "root key",
                "two of them, as while one is replaced",
                "put ADMIN_API_KEY_NEXT into ADMIN_API_KEY, and unset it",
            )
        )
    return found


async def _mongo(state: State) -> list[Finding]:
    database = state["database"]
    facts = await read_mongo_facts(database)
    found = mongo_findings(facts, state["now"]())
    missing = await missing_indexes(database, INDEXES)
    names = [(collection, [index.name for index in lacking]) for collection, lacking in missing]
    return [*found, *index_findings(names)]


async def _redis(state: State) -> list[Finding]:
    nodes = await nodes_of(state["redis"])
    answers = await answers_of(map(read_redis_facts, nodes))
    first_answer(answers)
    return cluster_findings(answers, state["now"]())


async def _ledger(request: Request[State]) -> list[Finding]:
    health = (await show_ledger_health(request, HealthQuery(counts=False))).content
    return ledger_findings(health, request.state["now"]())


async def _replicas(state: State) -> list[Finding]:
    try:
        notes = await ReplicaStore(state["redis"]).all()
    except (RedisError, OSError) as error:
        log.warning("doctor.away", area="gateway", error=error)
        reason = "Redis, or the one of its masters that has what they say, does not answer"
        return [Area("gateway").unknown("replicas", reason)]
    return replica_findings(notes, version=VERSION, redis_ms=await redis_time_ms(state["redis"]))


async def _gateway(state: State) -> list[Finding]:
    area, url = Area("gateway"), state["settings"].gateway_url
    mend = "set GATEWAY_URL to where the gateway answers"
    try:
        answer = await state["gateway"].get("/ready")
    except HttpUnreachable as error:
        return [area.fail("answers", f"{url}: {error}", mend)]
    if answer.status != _OK:
        text = answer.body[:200].decode("utf-8", "replace")
        return [area.fail("answers", f"{url} is not ready ({answer.status}): {text}")]
    return [area.ok("answers", f"{url} is ready")]


async def _prices(state: State) -> list[Finding]:
    imports = await state["prices"].imports(Slice(limit=1, field="_id", descending=True))
    last = imports.rows[0] if imports.rows else None
    rows = len(state["price_map"])
    return price_findings(rows, _changed_at(state["settings"].price_map_path), last, state["now"]())


def _changed_at(path: str | None) -> datetime | None:
    file = map_file(path)
    try:
        return None if file is None else datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError:
        return None
