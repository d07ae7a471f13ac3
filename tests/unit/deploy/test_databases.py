"""The roles in MongoDB, and the script that starts it, on a program of that name."""

import re
import subprocess
from pathlib import Path

from deploy.local.compose import PASSWORDS
from deploy.local.environment import ROOT
from tests.users import DATABASES, ROLES

PROGRAM = """#!/bin/sh
echo "$@"
stat -c %a "$TMPDIR/mongo.key"
cat "$TMPDIR/mongo.key"
"""


def start(directory: Path) -> tuple[str, str, str]:
    """What the program was called with, its key file's mode, and the key."""
    directory.mkdir(exist_ok=True)
    program = directory / "mongod"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment = {
        "PATH": f"{directory}:/usr/bin:/bin",
        "HOME": str(directory),
        "TMPDIR": str(directory),
    }
    completed = subprocess.run(
        ("/bin/sh", DATABASES / "mongo.sh"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    command, mode, key = completed.stdout.splitlines()
    return command, mode, key


def test_each_start_makes_a_new_private_key(tmp_path: Path) -> None:
    starts = [start(tmp_path), start(tmp_path), start(tmp_path / "other")]
    for command, mode, key in starts:
        assert re.fullmatch(r"--replSet rs0 --bind_ip_all --keyFile \S+/mongo\.key", command)
        assert mode == "600"
        # What MongoDB takes: 6 to 1024 characters of base64.
        assert re.fullmatch(r"[A-Za-z0-9+/]{128}", key)
    assert len({key for _, _, key in starts}) == 3


def test_the_gateway_can_only_read_and_not_recordings() -> None:
    assert {action for rule in ROLES["gateway"] for action in rule["actions"]} == {"find"}
    collections = {name for rule in ROLES["gateway"] for name in rule["collections"]}
    assert collections.isdisjoint({"recordings", "dead_letters", "correction_orders"})


def test_only_the_worker_writes_the_ledger() -> None:
    for rule in (*ROLES["gateway"], *ROLES["admin"]):
        if {"insert", "update", "remove"} & set(rule["actions"]):
            ledger = {"entries", "spend", "rollups", "rollup_segments", "unpriced", "checkpoints"}
            assert ledger.isdisjoint(rule["collections"]), rule
    entries = [rule for rule in ROLES["worker"] if "entries" in rule["collections"]]
    assert {action for rule in entries for action in rule["actions"]} == {
        "createIndex",
        "find",
        "insert",
        "listIndexes",
    }


def test_roles_name_existing_collections() -> None:
    sources = [*(ROOT / "libs").rglob("*.py"), *(ROOT / "services").rglob("*.py")]
    used = {
        name
        for source in sources
        for name in re.findall(r'database\["([a-z_]+)"\]', source.read_text())
    }
    granted = {n for rules in ROLES.values() for rule in rules for n in rule["collections"]}
    assert granted == used


def test_each_user_has_a_password_in_both_databases() -> None:
    of_users = {
        f"{store}_{user.upper()}_PASSWORD" for store in ("MONGO", "REDIS") for user in ROLES
    }
    assert set(PASSWORDS) == of_users | {"MONGO_ROOT_PASSWORD"}
