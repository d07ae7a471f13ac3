"""Many accounts, each with a key, a budget, spend and a checkpoint, written before a stack starts.

The server that writes them is MongoDB or its stand-in without a replica set, so without an oplog,
and the stand-in without a sync for each write; indexes are built after the documents. A million
takes some ten minutes of the stand-in's CPU.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.example_account import example_account
from deploy.local import mongo_stand_in, mongod
from deploy.local.ports import HOST
from deploy.local.servers import DATABASE
from libs.common.domain.checkpoints import Checkpoint
from libs.common.domain.ids import new_secret
from libs.common.domain.periods import period_keys
from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.driver import Database, Document, open_database, to_document
from libs.common.storage.mongo.index import build_indexes
from libs.common.storage.mongo.proof_pages import fingerprint
from tests.servers import ServerProcess, free_port

_AT_ONCE = 5_000
# For the largest index.
_TIMEOUT_S = 3600.0
_SPENT_NUSD = 9_000
_ENTRIES = 9
_SECRETS = "secrets"


def seed_accounts(directory: Path, accounts: int, calls: int) -> list[str]:
    """The secrets of as many keys as there are calls, spread over all. `directory` is that of a
    `LocalStack`; what an earlier run has written into it stays as it is.
    """
    secrets_file = directory / _SECRETS
    if not secrets_file.exists():
        server = _server(directory)
        server.start()
        try:
            secrets_file.write_text("\n".join(asyncio.run(_seed(server.url, accounts, calls))))
        finally:
            server.stop()
    return secrets_file.read_text().split()[:calls]


def _server(directory: Path) -> ServerProcess:
    port, data, binary = free_port(), directory / "data", mongod.find()
    data.mkdir(parents=True, exist_ok=True)
    url = f"mongodb://{HOST}:{port}/{DATABASE}?directConnection=true"
    if binary is not None:
        return ServerProcess(url, mongod.command(binary, port, data / "mongod"), port, directory)
    command = (
        *mongo_stand_in.command(port, data / "mongo", is_durable=False),
        *("--standalone", "--log-level", "WARNING"),
    )
    return ServerProcess(url, command, port, directory)


async def _seed(mongo_uri: str, accounts: int, calls: int) -> list[str]:
    secrets: list[str] = []
    async with open_database(mongo_uri, operation_timeout_s=_TIMEOUT_S) as database:
        for start in range(0, accounts, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, accounts))
            batch = [new_secret(os.urandom(32)) for _ in numbers]
            await _insert(database, numbers, batch)
            step = max(accounts // calls, 1)
            secrets += [secret for n, secret in zip(numbers, batch, strict=True) if n % step == 0]
        await build_indexes(database, INDEXES)
    return secrets[:calls]


async def _insert(database: Database, numbers: Sequence[int], secrets: Sequence[str]) -> None:
    now = datetime.now(UTC)
    spend = dict.fromkeys(period_keys(now), _SPENT_NUSD)
    posted_fields: dict[str, Any] = {
        "entries": _ENTRIES,
        "summed": _ENTRIES,
        "spent_nusd": _SPENT_NUSD,
        "spend": spend,
    }
    accounts: list[Document] = []
    keys: list[Document] = []
    seals: list[Document] = []
    for n, secret in zip(numbers, secrets, strict=True):
        account, key = example_account(f"{n:08d}", secret, now)
        accounts.append(to_document(account, key="user_id") | posted_fields)
        keys.append(to_document(key, key="key_id"))
        checkpoint = Checkpoint(
            user_id=account.user_id, seq=_ENTRIES, nusd=_SPENT_NUSD, periods=spend
        )
        seal = {"document": fingerprint(posted_fields), "full_at": now}
        seals.append(to_document(checkpoint, key="user_id") | seal)
    for name, documents in (("accounts", accounts), ("keys", keys), ("checkpoints", seals)):
        await database[name].insert_many(documents, ordered=False)
