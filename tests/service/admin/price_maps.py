"""The admin app beside a price map of the test's own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import app_with, client_of

BASE = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 2}


def row(provider: str = "acme", **fields: Any) -> dict[str, Any]:
    """One dollar for input, two for output, unless given otherwise."""
    costs = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
    return {"litellm_provider": provider, "mode": "chat", **costs, **fields}


def map_file(path: Path, **rows: Any) -> Path:
    """A slash in a name is written `__`."""
    path.write_text(json.dumps({name.replace("__", "/"): row for name, row in rows.items()}))
    return path


@asynccontextmanager
async def admin_with_map(
    settings: Settings, database: Database, redis: Redis, path: Path
) -> AsyncIterator[httpx2.AsyncClient]:
    settings = msgspec.structs.replace(settings, price_map_path=str(path))
    async with client_of(app_with(settings, database, redis)) as client:
        yield client


async def make(admin: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/costs", json={**BASE, **fields})
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = answer.json()
    return version
