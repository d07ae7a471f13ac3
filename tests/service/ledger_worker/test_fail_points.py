"""Each command of a posting fails as MongoDB's servers fail: conflicts, elections, lost answers.

By MongoDB's own fail points, which a mongod has with `enableTestCommands`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.ledger_worker.settings import Settings
from tests.service.ledger_worker.worker_stage import Stage, make_events, open_stage, working
from tests.support.sent_commands import sent_commands

# All that a posting has before its commit.
_COMMANDS = ["update", "find", "insert"]
_IN_TRANSACTION = ["TransientTransactionError"]
_CONFLICT: dict[str, Any] = {"errorCode": 112, "errorLabels": _IN_TRANSACTION}
_STEPPED_DOWN: dict[str, Any] = {"errorCode": 10107, "errorLabels": _IN_TRANSACTION}
_CUT: dict[str, Any] = {"closeConnection": True}
# The driver asks for a commit again after these, since nobody knows what became of it.
_COMMITS: dict[str, dict[str, Any]] = {
    "stepped down": {"errorCode": 10107, "errorLabels": ["RetryableWriteError"]},
    "cut": _CUT,
    # It was done here, and not yet at the majority.
    "done, not replicated": {
        "writeConcernError": {"code": 91, "errmsg": "shutdown in progress"},
        "errorLabels": ["RetryableWriteError"],
    },
    "conflict": _CONFLICT,
}


@pytest.fixture
async def stage(mongo_uri: str, redis_url: str) -> AsyncIterator[Stage]:
    # A server that has not really stepped down tells of itself with the next heartbeat only.
    async with open_stage(f"{mongo_uri}&heartbeatFrequencyMS=500", redis_url) as opened:
        await opened.prepare()
        yield opened


@asynccontextmanager
async def failing(
    stage: Stage, command: str, fault: dict[str, Any], times: int
) -> AsyncIterator[None]:
    admin = stage.database.client["admin"]
    data = {"failCommands": [command], **fault}
    point = {"configureFailPoint": "failCommand"}
    await admin.command({**point, "mode": {"times": times}, "data": data})
    try:
        yield
    finally:
        await admin.command({**point, "mode": "off"})


async def assert_posted_once(
    stage: Stage, settings: Settings, command: str, fault: dict[str, Any], times: int
) -> None:
    for _ in range(2):
        # Two jobs: some of their events share an account, and so a document.
        await stage.enqueue([*make_events(2, "alice"), *make_events(1, "bob")])
    async with failing(stage, command, fault, times):
        with sent_commands() as sent:
            async with working(stage, settings):
                await stage.drained()
        names = [next(iter(each)) for each in sent]
        in_transactions = {next(iter(each)) for each in sent if "autocommit" in each}
        assert in_transactions <= {*_COMMANDS, "commitTransaction", "abortTransaction"}
        assert names.count(command) > times
    await stage.assert_exact("alice", 4)
    await stage.assert_exact("bob", 2)
    assert await stage.dead_letters.count() == 0


@pytest.mark.parametrize("command", _COMMANDS)
@pytest.mark.parametrize(
    "fault", [_CONFLICT, _STEPPED_DOWN, _CUT], ids=["conflict", "stepped down", "cut"]
)
async def test_a_command_that_fails_posts_nothing_twice(
    stage: Stage, settings: Settings, command: str, fault: dict[str, Any]
) -> None:
    await assert_posted_once(stage, settings, command, fault, 2)


@pytest.mark.parametrize("fault", _COMMITS.values(), ids=list(_COMMITS))
async def test_a_commit_of_unknown_result_posts_nothing_twice(
    stage: Stage, settings: Settings, fault: dict[str, Any]
) -> None:
    await assert_posted_once(stage, settings, "commitTransaction", fault, 1)
