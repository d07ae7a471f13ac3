"""The bytes of bodies are bounded for the process and for each account, until their calls end."""

import pytest

from libs.common.errors import BodiesTooLarge, Unavailable
from services.gateway.endpoints.body_memory import BodyMemory


def test_bytes_count_until_the_call_ends() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    lease = memory.lease("create", "acme", "key-1")
    lease.take(30)
    lease.take(10)
    lease.arrived()
    assert (memory.bytes, memory.account_bytes["acme"]) == (40, 40)
    lease.release()
    assert (memory.bytes, dict(memory.account_bytes), dict(memory.arriving)) == (0, {}, {})


def test_a_lone_body_is_served_whatever_the_bounds() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    memory.lease("create", "acme", "key-1").take(190)


@pytest.mark.parametrize(("translated", "taken"), [(False, 40), (True, 140)])
def test_a_forwarded_body_counts_with_its_copies(translated: bool, taken: int) -> None:
    memory = BodyMemory(max_bytes=500, max_account_bytes=150)
    lease = memory.lease("create", "acme", "key-1")
    lease.take(20)
    lease.take_copies(translated=translated)
    assert (memory.bytes, lease.taken) == (taken, taken)
    other = memory.lease("create", "acme", "key-2")
    other.take(5)
    if translated:
        with pytest.raises(BodiesTooLarge):
            other.take_copies(translated=True)
    lease.release()
    other.release()
    assert memory.bytes == 0


def test_an_account_cannot_exceed_its_share() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    first, second = memory.lease("create", "acme", "key-1"), memory.lease("create", "acme", "key-2")
    first.take(30)
    with pytest.raises(BodiesTooLarge) as refused:
        second.take(21)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 2)
    assert memory.bytes == 30
    memory.lease("create", "other", "key-3").take(50)
    first.release()
    second.take(21)


def test_the_process_bound_holds() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    memory.lease("create", "acme", "key-1").take(50)
    other = memory.lease("create", "other", "key-2")
    other.take(40)
    with pytest.raises(Unavailable) as refused:
        other.take(11)
    assert (refused.value.status, refused.value.retry_after_s) == (503, 2)
    assert memory.bytes == 90


def test_an_announced_length_is_checked_but_not_reserved() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    memory.lease("create", "other", "key-2").take(20)
    lease = memory.lease("create", "acme", "key-1")
    with pytest.raises(Unavailable):
        lease.check(81)
    lease.check(80)
    assert memory.bytes == 20


def test_slots_count_arriving_bodies() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    first = memory.lease("create", "acme", "key-1")
    assert first.places == (1, 1)
    assert memory.lease("create", "acme", "key-2").places == (2, 1)
    first.arrived()
    assert memory.lease("create", "acme", "key-1").places == (2, 1)
    first.release()
    assert memory.lease("create", "acme", "key-1").places == (3, 2)


def test_waiting_for_a_token_count_takes_no_call_slot() -> None:
    memory = BodyMemory(max_bytes=100, max_account_bytes=50)
    memory.lease("count", "acme", "key-1")
    assert memory.lease("create", "acme", "key-1").places == (1, 1)
