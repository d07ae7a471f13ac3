"""The spool: what was acknowledged is sent, in order, whatever happened in between."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.gateway.spool.records import record_of
from services.gateway.spool.spool import Spool, SpoolFull

RECORD_BYTES = 8


class Redis:
    """Takes what it is sent, or is away."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.refuses_after: int | None = None

    async def send(self, payload: bytes) -> frozenset[int]:
        if self.refuses_after is not None and len(self.received) >= self.refuses_after:
            raise OSError("away")
        self.received.append(payload)
        return frozenset()


def anything(_: frozenset[int]) -> bool:
    return True


_open_spools: list[Spool] = []


def open_spool(directory: Path, max_bytes: int = 10_000) -> Spool:
    """Closed when the test is over."""
    spool = Spool(directory, max_bytes=max_bytes)
    _open_spools.append(spool)
    spool.open()
    return spool


@pytest.fixture(autouse=True)
def _closing() -> Iterator[None]:
    yield
    while _open_spools:
        _open_spools.pop().close()


def files_of(directory: Path) -> list[Path]:
    """Those with records; what is hidden is only room."""
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def contents_of(directory: Path) -> list[bytes]:
    """Of all files, the hidden ones too."""
    return [path.read_bytes() for path in sorted(directory.iterdir())]


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return open_spool(tmp_path)


async def test_a_drain_keeps_the_order_and_leaves_nothing(
    spool: Spool, redis: Redis, tmp_path: Path
) -> None:
    payloads = [b"one", b"two", b"three" * 100]
    assert spool.is_empty()
    for payload in payloads:
        await spool.append(payload)

    assert not spool.is_empty()
    assert await spool.drain(redis.send, anything) == 3
    assert redis.received == payloads
    assert spool.is_empty()
    assert files_of(tmp_path) == []


async def test_the_size_of_a_spool_is_that_of_its_files(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=10_000)
    room = spool.size()
    assert 0 < room <= 10_000
    (tmp_path / "another.damaged").write_bytes(bytes(1_000))
    assert spool.size() == room + 1_000
    for _ in range(6):
        await spool.append(bytes(1_000))
    assert 7_000 < spool.size() <= 10_000


async def test_appending_continues_after_a_drain(spool: Spool, redis: Redis) -> None:
    await spool.append(b"one")
    await spool.drain(redis.send, anything)
    await spool.append(b"two")
    await spool.drain(redis.send, anything)

    assert redis.received == [b"one", b"two"]
    assert await spool.drain(redis.send, anything) == 0


async def test_opening_creates_the_directory(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "a" / "b")

    assert spool.is_empty()
    assert files_of(tmp_path / "a" / "b") == []


async def test_an_unwritable_directory_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OSError, match="file"):
        open_spool(tmp_path / "file" / "spool")


async def test_unsent_records_are_sent_again(spool: Spool, redis: Redis) -> None:
    for payload in (b"one", b"two", b"three"):
        await spool.append(payload)
    redis.refuses_after = 1

    with pytest.raises(OSError, match="away"):
        await spool.drain(redis.send, anything)
    await spool.append(b"four")
    redis.refuses_after = None
    await spool.drain(redis.send, anything)

    assert redis.received == [b"one", b"two", b"three", b"four"]


async def test_retries_during_an_outage_fill_one_file(
    spool: Spool, redis: Redis, tmp_path: Path
) -> None:
    redis.refuses_after = 0
    for number in range(5):
        await spool.append(b"%d" % number)
        with pytest.raises(OSError, match="away"):
            await spool.drain(redis.send, anything)

    assert len(files_of(tmp_path)) == 1


async def test_a_full_spool_has_room_again_once_drained(tmp_path: Path, redis: Redis) -> None:
    spool = open_spool(tmp_path, max_bytes=2 * (RECORD_BYTES + 4))
    redis.refuses_after = 0
    await spool.append(b"1234")
    # A drain that fails makes no room.
    with pytest.raises(OSError, match="away"):
        await spool.drain(redis.send, anything)
    await spool.append(b"1234")
    with pytest.raises(SpoolFull):
        await spool.append(b"5")

    redis.refuses_after = None
    await spool.drain(redis.send, anything)
    await spool.append(b"5678")
    await spool.drain(redis.send, anything)

    assert redis.received == [b"1234", b"1234", b"5678"]


async def test_the_next_process_takes_over_oldest_first(tmp_path: Path, redis: Redis) -> None:
    for payload in (b"one", b"two"):
        dead = open_spool(tmp_path)
        await dead.append(payload)
        dead.close()
    spool = open_spool(tmp_path)
    await spool.append(b"three")

    assert await spool.drain(redis.send, anything) == 3
    assert redis.received == [b"one", b"two", b"three"]
    assert spool.is_empty()


async def test_a_file_that_another_process_writes_is_left_alone(
    tmp_path: Path, redis: Redis
) -> None:
    other, spool = open_spool(tmp_path), open_spool(tmp_path)
    await other.append(b"theirs")
    await spool.append(b"ours")

    assert await spool.drain(redis.send, anything) == 1
    assert redis.received == [b"ours"]
    assert not spool.is_empty()

    await other.append(b"theirs too")
    other.close()
    assert await spool.drain(redis.send, anything) == 2
    assert redis.received == [b"ours", b"theirs", b"theirs too"]


@pytest.mark.parametrize("kept_bytes", [1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 3])
async def test_a_crash_in_mid_record_loses_only_that_record(
    tmp_path: Path, redis: Redis, kept_bytes: int
) -> None:
    dead = open_spool(tmp_path)
    await dead.append(b"whole")
    await dead.append(b"torn")
    dead.close()
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes()[: RECORD_BYTES + len(b"whole") + kept_bytes])

    spool = open_spool(tmp_path)
    await spool.append(b"later")

    assert await spool.drain(redis.send, anything) == 2
    assert redis.received == [b"whole", b"later"]
    assert spool.is_empty()


async def test_records_behind_a_damaged_one_are_kept_aside(tmp_path: Path, redis: Redis) -> None:
    """Nobody can send them, but nothing that was acknowledged is ever deleted unsent."""
    dead = open_spool(tmp_path)
    for payload in (b"first", b"damaged", b"behind"):
        await dead.append(payload)
    dead.close()
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED"))

    spool = open_spool(tmp_path)

    assert await spool.drain(redis.send, anything) == 1
    assert spool.is_empty()
    (kept,) = files_of(tmp_path)
    assert kept.suffix == ".damaged"
    assert b"behind" in kept.read_bytes()


@contextmanager
def disk_that_ends_at(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size`: a write is cut short there, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_raises_and_leaves_no_partial_record(spool: Spool, redis: Redis) -> None:
    await spool.append(b"before")
    with disk_that_ends_at(RECORD_BYTES + 6 + RECORD_BYTES + 2):
        for _ in range(2):
            with pytest.raises(OSError, match="large"):
                await spool.append(b"too much")
    await spool.append(b"after")

    await spool.drain(redis.send, anything)
    assert redis.received == [b"before", b"after"]


async def test_concurrent_appends_are_all_kept(spool: Spool, redis: Redis) -> None:
    payloads = {b"%d" % number for number in range(50)}
    await asyncio.gather(*(spool.append(payload) for payload in payloads))

    await spool.drain(redis.send, anything)
    assert set(redis.received) == payloads
    assert len(redis.received) == 50


def allocated_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


async def fill(spool: Spool) -> None:
    """Until nothing is taken that nothing is reserved for."""
    for _ in range(10_000):
        try:
            await spool.append(b"note" * 25)
        except (SpoolFull, OSError):
            return
    raise AssertionError("it has no end")


async def test_reserved_room_survives_a_full_disk(
    spool: Spool, redis: Redis, tmp_path: Path
) -> None:
    spool.reserve(3 * (RECORD_BYTES + 900))
    await spool.keep_room()
    events = [b"%d" % number * 900 for number in range(3)]
    with disk_that_ends_at(allocated_bytes(tmp_path)):
        await fill(spool)
        for event in events:
            await spool.append(event, from_reserve=True)
    assert spool.lacks_room is not None

    await spool.drain(redis.send, anything)
    assert redis.received[-3:] == events
    assert spool.lacks_room is None


async def test_a_finished_call_releases_its_room(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=1000)
    spool.reserve(900)
    with pytest.raises(SpoolFull):
        await spool.append(b"note" * 25)
    spool.reserve(-900)
    await spool.append(b"note" * 25)


async def test_the_bound_covers_the_directory(tmp_path: Path, redis: Redis) -> None:
    """Other processes' files count, and so does what is kept aside."""
    (tmp_path / "kept.damaged").write_bytes(bytes(4_000))
    other, spool = open_spool(tmp_path), open_spool(tmp_path)
    await fill(other)
    await fill(spool)
    assert 9_000 < allocated_bytes(tmp_path) <= 10_000

    await other.drain(redis.send, anything)
    (tmp_path / "kept.damaged").unlink()
    await spool.append(b"note" * 25)
    assert allocated_bytes(tmp_path) <= 10_000


async def test_a_used_up_bound_leaves_reserved_room(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.reserve(2_000)
    await fill(spool)
    await spool.append(b"event" * 300, from_reserve=True)
    with pytest.raises(SpoolFull):
        await spool.append(b"event" * 300, from_reserve=True)


async def test_free_room_of_a_killed_process_is_not_a_record(
    spool: Spool, redis: Redis, tmp_path: Path
) -> None:
    await spool.append(b"one")
    (path,) = files_of(tmp_path)
    assert path.stat().st_size > RECORD_BYTES + len(b"one")
    leftover = tmp_path / f"0{path.name}"
    leftover.write_bytes(path.read_bytes())

    assert await spool.drain(redis.send, anything) == 2
    assert redis.received == [b"one", b"one"]
    assert files_of(tmp_path) == []


async def test_records_behind_free_room_are_kept_aside(redis: Redis, tmp_path: Path) -> None:
    """A header of zeros before other bytes is damage, and no end."""
    leftover = tmp_path / "0.spool2"
    leftover.write_bytes(bytes(RECORD_BYTES) + record_of(b"behind"))
    spool = open_spool(tmp_path)

    assert await spool.drain(redis.send, anything) == 0
    (kept,) = files_of(tmp_path)
    assert kept.suffix == ".damaged"


async def test_records_of_an_older_release_are_sent(redis: Redis, tmp_path: Path) -> None:
    leftover = tmp_path / "00000000000000000001-a.spool"
    leftover.write_bytes(record_of(b"one") + record_of(b"two"))
    spool = open_spool(tmp_path)
    assert not spool.is_empty()

    assert await spool.drain(redis.send, anything) == 2
    assert redis.received == [b"one", b"two"]
    assert spool.is_empty()


async def test_a_closed_spool_keeps_only_its_records(tmp_path: Path) -> None:
    empty, used = open_spool(tmp_path), open_spool(tmp_path)
    await used.append(b"one")
    empty.close()
    used.close()

    assert contents_of(tmp_path) == [record_of(b"one")]


async def test_room_of_a_dead_process_is_freed(tmp_path: Path) -> None:
    living = open_spool(tmp_path)
    (tmp_path / ".dead.room").write_bytes(bytes(5_000))
    open_spool(tmp_path).close()

    assert len(contents_of(tmp_path)) == 1
    await living.append(b"one")


class Shards:
    """Takes all but what is of shards that are away: a record's first byte is its shard."""

    def __init__(self, *away: int) -> None:
        self.away = set(away)
        self.received: list[bytes] = []

    async def send(self, payload: bytes) -> frozenset[int]:
        shard = int(payload[:1])
        if shard in self.away:
            return frozenset((shard,))
        self.received.append(payload)
        return frozenset()

    def may_go(self, pending_shards: frozenset[int]) -> bool:
        return not pending_shards <= self.away


async def test_records_that_wait_let_others_pass_and_keep_their_order(
    spool: Spool, tmp_path: Path
) -> None:
    shards = Shards(1)
    for payload in (b"1a", b"2a", b"1b", b"2b"):
        await spool.append(payload)
    assert await spool.drain(shards.send, shards.may_go) == 2
    await spool.append(b"1c")
    await spool.append(b"2c")
    assert await spool.drain(shards.send, shards.may_go) == 1
    assert await spool.drain(shards.send, shards.may_go) == 0
    assert shards.received == [b"2a", b"2b", b"2c"]
    assert len(files_of(tmp_path)) == 1

    shards.away = set()
    assert await spool.drain(shards.send, shards.may_go) == 3
    assert shards.received[3:] == [b"1a", b"1b", b"1c"]
    assert files_of(tmp_path) == []


async def test_a_fault_forgets_no_record_that_waits(spool: Spool) -> None:
    shards, redis = Shards(1, 2), Redis()
    for payload in (b"1a", b"2a", b"1b", b"2b"):
        await spool.append(payload)
    assert await spool.drain(shards.send, shards.may_go) == 0
    await spool.append(b"1c")
    redis.refuses_after = 2
    with pytest.raises(OSError, match="away"):
        await spool.drain(redis.send, anything)
    redis.refuses_after = None
    assert await spool.drain(redis.send, anything) == 3
    assert redis.received == [b"1a", b"2a", b"1b", b"2b", b"1c"]
    assert spool.is_empty()


async def test_a_damaged_file_is_kept_aside_once_nothing_in_it_waits(
    spool: Spool, tmp_path: Path
) -> None:
    """Also where this process was writing it: then the next record begins another file."""
    shards = Shards(1)
    for payload in (b"1a", b"2a", b"2-damaged"):
        await spool.append(payload)
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"2-damaged", b"2-DAMAGED"))
    assert await spool.drain(shards.send, shards.may_go) == 1
    await spool.append(b"1b")
    assert await spool.drain(shards.send, shards.may_go) == 0
    assert path in files_of(tmp_path)

    shards.away = set()
    assert await spool.drain(shards.send, shards.may_go) == 2
    assert shards.received == [b"2a", b"1a", b"1b"]
    assert files_of(tmp_path) == [path.with_suffix(".damaged")]
    assert spool.is_empty()


async def test_a_record_that_is_damaged_while_it_waits_spoils_no_other(
    spool: Spool, tmp_path: Path
) -> None:
    shards = Shards(1)
    for payload in (b"1-damaged", b"1b", b"2a"):
        await spool.append(payload)
    assert await spool.drain(shards.send, shards.may_go) == 1
    (path,) = files_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"1-damaged", b"1-DAMAGED"))
    shards.away = set()
    for _ in range(2):
        await spool.drain(shards.send, shards.may_go)
    assert shards.received == [b"2a", b"1b"]
    assert files_of(tmp_path) == [path.with_suffix(".damaged")]
