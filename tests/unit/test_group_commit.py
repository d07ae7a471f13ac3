import asyncio
from collections.abc import Sequence

import pytest

from libs.common.group_commit import GroupCommit


class Writer:
    """Writes one batch whenever it is told to, and says which batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._allowed = asyncio.Semaphore(0)
        self._started = asyncio.Condition()
        self.failures: dict[str, Exception] = {}

    async def write(self, items: Sequence[str]) -> list[str]:
        async with self._started:
            self.batches.append(list(items))
            self._started.notify_all()
        await self._allowed.acquire()
        for item in items:
            if item in self.failures:
                raise self.failures[item]
        return [item.upper() for item in items]

    def allow(self, writes: int = 1) -> None:
        for _ in range(writes):
            self._allowed.release()

    async def has_started(self, writes: int) -> None:
        async with self._started:
            await self._started.wait_for(lambda: len(self.batches) >= writes)


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def commits(writer: Writer) -> GroupCommit[str, str]:
    return GroupCommit(writer.write, max_items=3, max_waiting=10)


async def settle() -> None:
    """Lets everything that is ready run until it waits for something else."""
    for _ in range(10):
        await asyncio.sleep(0)


def start(
    commits: GroupCommit[str, str], group: asyncio.TaskGroup, items: str
) -> list[asyncio.Task[str]]:
    return [group.create_task(commits.commit(item)) for item in items]


async def test_an_item_is_written_at_once_if_no_write_is_under_way(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    async with asyncio.TaskGroup() as group:
        for expected, item in [([["a"]], "a"), ([["a"], ["b"]], "b")]:
            (task,) = start(commits, group, item)
            # Nothing but the loop's own turns passes, and no time.
            await settle()
            assert writer.batches == expected
            writer.allow()
            assert await task == item.upper()


async def test_simultaneous_items_share_a_write(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    writer.allow()
    assert await asyncio.gather(*map(commits.commit, "abc")) == ["A", "B", "C"]
    assert writer.batches == [["a", "b", "c"]]


async def test_items_arriving_during_a_write_share_the_next_one(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    async with asyncio.TaskGroup() as group:
        first = start(commits, group, "a")
        await writer.has_started(1)
        later = start(commits, group, "b")
        await settle()
        later += start(commits, group, "c")
        await settle()
        assert writer.batches == [["a"]]
        writer.allow()
        await writer.has_started(2)
        assert [task.done() for task in first + later] == [True, False, False]
        writer.allow()
    assert writer.batches == [["a"], ["b", "c"]]
    assert [task.result() for task in first + later] == ["A", "B", "C"]


async def test_a_batch_is_bounded_and_keeps_the_order(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    writer.allow(3)
    assert await asyncio.gather(*map(commits.commit, "abcdefg")) == list("ABCDEFG")
    assert writer.batches == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


async def test_a_failure_reaches_only_the_callers_of_its_batch(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    writer.failures["b"] = OSError("disk full")
    writer.allow(2)
    results = await asyncio.gather(*map(commits.commit, "abcde"), return_exceptions=True)
    assert results == [writer.failures["b"]] * 3 + ["D", "E"]
    writer.allow()
    assert await commits.commit("f") == "F"


async def test_too_few_results_fail_the_callers() -> None:
    async def write(items: Sequence[str]) -> list[str]:
        return [item.upper() for item in items if item != "b"]

    commits = GroupCommit(write, max_items=3, max_waiting=10)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*map(commits.commit, "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 3
    assert await commits.commit("d") == "D"


async def test_the_item_of_a_cancelled_caller_is_still_written(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = start(commits, group, "a")
        await writer.has_started(1)
        tasks += start(commits, group, "bc")
        await settle()
        tasks[0].cancel()
        tasks[1].cancel()
        await settle()
        writer.allow(2)
    assert writer.batches == [["a"], ["b", "c"]]
    assert [task.cancelled() for task in tasks] == [True, True, False]
    assert tasks[2].result() == "C"


async def test_an_unawaited_failure_is_ignored(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    writer.failures["a"] = OSError("disk full")
    task = asyncio.ensure_future(commits.commit("a"))
    await writer.has_started(1)
    task.cancel()
    await settle()
    writer.allow(2)
    assert await commits.commit("b") == "B"


async def test_the_number_of_waiting_callers_is_bounded(writer: Writer) -> None:
    commits = GroupCommit(writer.write, max_items=10, max_waiting=2)
    async with asyncio.TaskGroup() as group:
        start(commits, group, "abcde")
        await writer.has_started(1)
        await settle()
        assert writer.batches == [["a", "b"]]
        writer.allow(3)
    assert writer.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_the_item_of_a_caller_cancelled_while_waiting_for_room_is_still_written(
    writer: Writer,
) -> None:
    commits: GroupCommit[str, str] = GroupCommit(writer.write, max_items=3, max_waiting=1)
    first = asyncio.create_task(commits.commit("a"))
    second = asyncio.create_task(commits.commit("b"))
    await writer.has_started(1)
    second.cancel()
    await asyncio.wait({second})

    writer.allow(2)
    await commits.close()

    assert await first == "A"
    assert writer.batches == [["a"], ["b"]]


async def test_an_item_is_handed_in_without_waiting(writer: Writer) -> None:
    commits = GroupCommit(writer.write, max_items=10, max_waiting=1)
    async with asyncio.TaskGroup() as group:
        start(commits, group, "ab")
        await writer.has_started(1)
        future = commits.submit("c")
        writer.allow(3)
        assert await future == "C"
    assert sorted(item for batch in writer.batches for item in batch) == ["a", "b", "c"]


async def test_closing_waits_for_everything_handed_in(writer: Writer) -> None:
    commits = GroupCommit(writer.write, max_items=1, max_waiting=2)
    async with asyncio.TaskGroup() as group:
        tasks = start(commits, group, "abcd")
        await writer.has_started(1)
        closing = group.create_task(commits.close())
        await settle()
        for writes in range(1, 5):
            assert not closing.done()
            await writer.has_started(writes)
            writer.allow()
            await settle()
        assert closing.done()
    assert [task.result() for task in tasks] == list("ABCD")


async def test_closing_without_anything_under_way_returns(
    commits: GroupCommit[str, str], writer: Writer
) -> None:
    await commits.close()
    writer.allow()
    await commits.commit("a")
    await commits.close()
