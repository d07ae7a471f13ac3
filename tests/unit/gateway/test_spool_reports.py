"""What a gateway notes of its spool, by a clock that stands still but for the steps."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.spool_notes import SpoolNote, SpoolNoteStore
from services.gateway.spool.backlog import Backlog
from services.gateway.usage.spool_reports import report_spool

# `.`: empty; `x`: records wait; `!`: they wait and Redis takes no note; `?`: empty, and no note.
Seconds = str


class Notes:
    def __init__(self) -> None:
        self.stored: list[SpoolNote] = []
        self.is_away = False

    async def put(self, note: SpoolNote) -> None:
        if self.is_away:
            raise RedisError
        self.stored.append(note)


class Files:
    def __init__(self) -> None:
        self.wait = False

    def is_empty(self) -> bool:
        return not self.wait

    def size(self) -> int:
        return 4096 if self.wait else 0


async def noted_periods(seconds: Seconds) -> list[tuple[int, int | None]]:
    """Since and until, in seconds, as they were noted."""
    notes, files = Notes(), Files()
    now_s = -1
    steps: Iterator[str] = iter(seconds)

    async def sleep(_: float) -> None:
        nonlocal now_s
        step = next(steps, None)
        if step is None:
            raise asyncio.CancelledError
        now_s += 1
        files.wait = step in "x!"
        notes.is_away = step in "!?"

    with pytest.raises(asyncio.CancelledError):
        await report_spool(
            cast("Backlog", files),
            cast("SpoolNoteStore", notes),
            "gw-1",
            clock=lambda: float(now_s + 1000),
            sleep=sleep,
        )
    assert {note.gateway for note in notes.stored} <= {"gw-1"}
    for note in notes.stored:
        assert note.noted_ms is not None
        assert note.noted_ms >= max(note.since_ms, note.until_ms or 0)
        assert note.bytes == (4096 if files_wait(seconds, note.noted_ms) else 0)
    return [
        (note.since_ms // 1000 - 1000, note.until_ms and note.until_ms // 1000 - 1000)
        for note in notes.stored
    ]


def files_wait(seconds: Seconds, at_ms: int) -> bool:
    return seconds[at_ms // 1000 - 1000] in "x!"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ("....", []),
        # Short hiccups.
        ("xxxx.xxxx.", []),
        (".xxxxxx..", [(1, None), (1, 7)]),
        ("x" * 26, [(0, None), (0, None), (0, None)]),
        # It is noted afterwards what could not be noted meanwhile, with its true end.
        ("!!!!!!??..", [(0, 6)]),
        ("!!!!!!??xxx..", [(0, None), (0, 11)]),
        ("xxxxxx.xxxxxx.", [(0, None), (0, 6), (7, None), (7, 13)]),
    ],
)
async def test_notes(seconds: Seconds, expected: list[tuple[int, int | None]]) -> None:
    assert await noted_periods(seconds) == expected
