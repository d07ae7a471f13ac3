"""Dump, wipe, restore: nothing differs, and the proof is clean."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local import mongod
from libs.common.domain.ids import uuid7
from libs.common.prover import prover_of
from libs.common.schemas.holds import Spent
from libs.common.storage.indexes import INDEXES
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.backups import collection_names, open_reader
from libs.common.storage.mongo.driver import (
    Database,
    Document,
    OperationFailure,
)
from libs.common.storage.mongo.index import ensure_indexes
from libs.common.storage.mongo.keys import KeyStore
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.mongo.prices import PriceStore
from libs.common.storage.redis.client import open_redis
from libs.common.storage.redis.holds import HoldStore
from libs.common.storage.redis.spend import RedisSpendReader
from services.admin.backup.files import WrongBackup, check_files, read_manifest
from services.admin.backup.work import dump, restore
from tests.servers import free_port
from tests.unit import builders
from tests.unit.builders import NOW

ACCOUNTS = ("acme", "bob")
ENTRIES = 40
# More than are written at a time.
ROWS = 1_203
Completed = subprocess.CompletedProcess[str]


async def fill(database: Database) -> None:
    accounts = AccountStore(database)
    await ensure_indexes(database, INDEXES, how="")
    for user_id in ACCOUNTS:
        assert await accounts.insert(builders.account(user_id))
    await KeyStore(database).insert(builders.api_key())
    await PriceStore(database).insert(builders.price())
    await post(database, 0, ENTRIES)
    rows = [{"_id": n, "at": NOW, "text": "ü" * (n % 50), "of": {"n": n / 7}} for n in range(ROWS)]
    await database["audit"].insert_many(rows)


async def post(database: Database, first: int, number: int) -> None:
    entries = [
        builders.entry(
            uuid7(n, n.to_bytes(10)), user_id=ACCOUNTS[n % 2], cost_nusd=n * 3, tags=("a:ü",)
        )
        for n in range(first, first + number)
    ]
    await LedgerStore(database).post(entries)


async def contents(database: Database) -> dict[str, tuple[list[Document], list[Any]]]:
    """Documents in the order of their ids, and indexes in that of their names."""
    collections = {}
    for name in await collection_names(database):
        documents = await database[name].find({}).sort("_id", 1).to_list(10_000)
        indexes = await database[name].index_information()
        collections[name] = (documents, sorted(indexes.items()))
    return collections


async def prove_entries(database: Database, redis_url: str) -> int:
    """The number of entries, of which none differs."""
    async with open_redis(redis_url) as redis:
        findings = await prover_of(database, redis).prove_all(full=True)
    assert findings.first_difference is None
    return int(findings.entries)


def command(action: str, path: Path, mongo_uri: str, **variables: str) -> Completed:
    return subprocess.run(
        [sys.executable, "-m", "services.admin.backup", action, str(path)],
        env={"PATH": os.environ["PATH"], "MONGO_URI": mongo_uri, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


async def test_a_dump_is_restored(
    database: Database, mongo_uri: str, redis_url: str, tmp_path: Path
) -> None:
    await fill(database)
    await prove_entries(database, redis_url)
    before = await contents(database)
    path = tmp_path / "backup"

    async def run(action: str, **variables: str) -> Completed:
        return await asyncio.to_thread(command, action, path, mongo_uri, **variables)

    dumped = await run("dump")
    assert dumped.returncode == 0, dumped.stderr
    total = sum(len(documents) for documents, _ in before.values())
    assert sum(part.documents for part in check_files(path).collections) == total

    # What was posted after the backup is in Redis, with newer revisions, and is lost.
    await post(database, ENTRIES, 10)
    async with open_redis(redis_url) as redis:
        newer = Spent(period="total", nusd=10**9, revision=10**6)
        await HoldStore(redis).seed("acme", [newer])
        await redis.set("gateway:of-another-kind", "1")
    with pytest.raises(WrongBackup, match="is not empty"):
        await restore(database, path)
    await database.client.drop_database(database.name)

    away = await run("restore", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert away.returncode == 1
    assert await database.list_collection_names() == []

    restored = await run("restore", REDIS_URL=redis_url)

    assert restored.returncode == 0, restored.stderr
    assert await contents(database) == before
    assert await prove_entries(database, redis_url) == ENTRIES
    async with open_redis(redis_url) as redis:
        assert await RedisSpendReader(redis).of({"acme": ["total"]}) == {}
        assert await redis.get("gateway:of-another-kind") == b"1"
    # The ledger goes on where it was.
    await post(database, ENTRIES, 10)
    assert await prove_entries(database, redis_url) == ENTRIES + 10


@pytest.mark.skipif(mongod.find() is None, reason="the stand-in for mongod reads what is newest")
async def test_a_backup_shows_one_moment(database: Database) -> None:
    """What is posted while it is made is in none of its files."""
    await fill(database)
    async with open_reader(database) as reader:
        accounts = [document async for document in reader.documents("accounts")]
        await post(database, ENTRIES, 5)
        entries = [document async for document in reader.documents("entries")]
    assert (len(accounts), len(entries)) == (len(ACCOUNTS), ENTRIES)


async def test_files_are_private_and_an_unfinished_backup_is_rejected(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    path = tmp_path / "backup"
    await dump(database, path)
    modes = {each.stat().st_mode & 0o077 for each in (path, *path.iterdir())}
    assert modes == {0}
    with pytest.raises(WrongBackup, match="is not empty"):
        await dump(database, path)
    (path / "manifest.json").unlink()
    with pytest.raises(WrongBackup, match="was not finished"):
        check_files(path)


def edit_manifest(path: Path, **changes: Any) -> None:
    """A manifest with other members."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


def flip_bit(path: Path) -> None:
    """One bit of one document, packed again so that gzip does not notice."""
    file = path / "entries.bson.gz"
    raw = bytearray(gzip.decompress(file.read_bytes()))
    raw[-10] ^= 1
    file.write_bytes(gzip.compress(bytes(raw)))


def drop_last(path: Path) -> None:
    file = path / "accounts.bson.gz"
    raw = gzip.decompress(file.read_bytes())
    first = int.from_bytes(raw[:4], "little")
    file.write_bytes(gzip.compress(raw[:first]))


def cut(path: Path) -> None:
    file = path / "entries.bson.gz"
    file.write_bytes(file.read_bytes()[:-20])


def claim_huge_size(path: Path) -> None:
    (path / "keys.bson.gz").write_bytes(gzip.compress(b"\xff\xff\xff\x7f" + b"x" * 100))


def point_elsewhere(path: Path) -> None:
    part = {"name": "../keys", "documents": 0, "bytes": 0, "sha256": ""}
    edit_manifest(path, collections=[part])


FAULTS: dict[str, Callable[[Path], object]] = {
    "flipped": flip_bit,
    "without_last": drop_last,
    "cut": cut,
    "huge": claim_huge_size,
    "elsewhere": point_elsewhere,
    "missing": lambda path: (path / "prices.bson.gz").unlink(),
    "format": lambda path: edit_manifest(path, format=2),
    "no_json": lambda path: (path / "manifest.json").write_bytes(b"\xff{"),
    "twice": lambda path: edit_manifest(
        path, collections=2 * json.loads((path / "manifest.json").read_bytes())["collections"]
    ),
}


async def test_a_damaged_backup_is_refused_before_anything_is_written(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    for name, damage in FAULTS.items():
        path = tmp_path / name
        await dump(database, path)
        damage(path)
        empty = database.client[f"{database.name[:20]}_{name}"]
        with pytest.raises(WrongBackup):
            await restore(empty, path)
        assert await collection_names(empty) == [], name


async def test_accounts_come_last(database: Database, tmp_path: Path) -> None:
    """A restore that is interrupted serves nobody: it breaks off at a collection before them."""
    await fill(database)
    path = tmp_path / "backup"
    await dump(database, path)
    names = [part.name for part in read_manifest(path).collections]
    assert {"accounts", "entries", "keys"} <= set(names)
    target = database.client[f"{database.name[:20]}_half"]
    # An index that cannot be made.
    manifest = json.loads((path / "manifest.json").read_bytes())
    for part in manifest["collections"]:
        if part["name"] == "rollups":
            part["indexes"] = [{"key": {"user_id": "nonsense"}, "name": "x"}]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OperationFailure):
        await restore(target, path)
    assert await target["accounts"].find_one({}) is None
    assert await target["keys"].find_one({}) is None
    assert await target["entries"].find_one({}) is not None
    await database.client.drop_database(target.name)


def test_without_a_server_it_is_one_line(tmp_path: Path) -> None:
    completed = command("dump", tmp_path / "backup", "mongodb://127.0.0.1:1/x?timeoutMS=300")
    assert completed.returncode == 1
    assert completed.stderr.startswith("services.admin.backup")
    assert completed.stderr.count("\n") == 1


def test_a_backup_is_checked_without_a_database(tmp_path: Path) -> None:
    completed = command("check", tmp_path, "")
    assert completed.returncode == 1
    assert "was not finished" in completed.stderr
