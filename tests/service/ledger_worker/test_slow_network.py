"""Postings where MongoDB is 2 ms away in either direction, and where its primary is lost.

A `mongod` on PATH is three members, which reach each other over such links too. The stand-in has no
members: of it one is far away, and the rest is skipped.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from time import monotonic

import pytest

from deploy.local import mongod
from services.ledger_worker.settings import Settings
from tests.clusters import until
from tests.replica_sets import DELAY_MS, Member, SlowSet, running_set, slow_set
from tests.service.ledger_worker.worker_stage import (
    Stage,
    make_events,
    open_stage,
    settings_for,
    working,
)
from tests.support.polling import eventually
from tests.support.sent_commands import sent_commands

pytestmark = [pytest.mark.mongo, pytest.mark.redis]
of_three = pytest.mark.skipif(
    mongod.find() is None, reason="needs a mongod on PATH: the stand-in is a set of one"
)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowSet]:
    with running_set(slow_set(tmp_path_factory.mktemp("far"))) as made:
        yield made


@pytest.fixture
async def stage(far: SlowSet, redis_url: str) -> AsyncIterator[Stage]:
    async with open_stage(far.url, redis_url) as opened:
        # A test before may have left its ledger.
        await opened.database.client.drop_database(opened.database.name)
        await opened.prepare()
        yield opened


@pytest.fixture
def settings(far: SlowSet, redis_url: str) -> Settings:
    return settings_for(far.url, redis_url)


async def test_an_answer_takes_both_ways(stage: Stage) -> None:
    start_s = monotonic()
    for _ in range(10):
        await stage.database.command("ping")
    assert monotonic() - start_s >= 10 * 2 * DELAY_MS / 1000


async def test_a_posting_takes_as_many_round_trips_for_many_accounts_as_for_one(
    stage: Stage, settings: Settings
) -> None:
    """Each waits for the one before, so over a network they are what a posting takes."""
    users = [f"user-{n}" for n in range(20)]
    for user_id in users:
        await stage.add_account(user_id)
    sent = []
    for user_ids in (["alice"], users):
        await stage.enqueue([event for user_id in user_ids for event in make_events(2, user_id)])
        with sent_commands() as commands:
            async with working(stage, settings):
                await stage.drained()
        sent.append(_in_transactions(commands))
    assert sent[0] == sent[1]
    assert sent[0][-1] == "commitTransaction"
    assert len(sent[0]) <= 5
    for user_id in users:
        await stage.assert_exact(user_id, 2)


def _in_transactions(commands: list[dict[str, object]]) -> list[str]:
    return [next(iter(command)) for command in commands if "autocommit" in command]


def kill(member: Member) -> None:
    member.server.kill()


def cut(member: Member) -> None:
    """What it has and the majority has not is rolled back."""
    member.cut()


def step_down(member: Member) -> None:
    member.ask("replSetStepDown", 3, secondaryCatchUpPeriodSecs=2, force=True)


def replace(far: SlowSet, lost: Member) -> None:
    """Returns once another member is primary. A set of one has to come back itself."""
    others = [member for member in far.members if member is not lost]
    if others:
        until(lambda: any(member.role() == "primary" for member in others))
    else:
        far.restore()


@pytest.mark.parametrize(
    "lose", [cut, pytest.param(kill, marks=of_three), pytest.param(step_down, marks=of_three)]
)
async def test_a_primary_that_is_lost_under_postings_loses_and_doubles_nothing(
    stage: Stage, settings: Settings, far: SlowSet, lose: Callable[[Member], None]
) -> None:
    async def has_begun() -> bool:
        return bool(await stage.entry_ids("bob"))

    lost = far.primary()
    try:
        async with working(stage, settings):
            for n in range(40):
                await stage.enqueue([*make_events(3, "alice"), *make_events(1, "bob")])
                if n == 10:
                    await eventually(has_begun)
                if n == 20:
                    await asyncio.to_thread(lose, lost)
            await asyncio.to_thread(replace, far, lost)
            await stage.drained()
    finally:
        await asyncio.to_thread(far.restore)
    await stage.assert_exact("alice", 120)
    await stage.assert_exact("bob", 40)
    assert await stage.dead_letters.count() == 0


@of_three
async def test_without_a_majority_nothing_is_posted_until_it_is_back(
    stage: Stage, settings: Settings, far: SlowSet
) -> None:
    primary = far.primary()
    try:
        for member in far.members:
            if member is not primary:
                member.server.kill()
        async with working(stage, settings):
            await stage.enqueue(make_events(5))
            await stage.retried()
            assert not await stage.queue_is_empty()
            await asyncio.to_thread(far.restore)
            await stage.drained()
    finally:
        await asyncio.to_thread(far.restore)
    await stage.assert_exact("alice", 5)
