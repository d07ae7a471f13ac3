"""The breaker: nobody waits for a server that is away, and one at a time looks whether it is."""

from libs.common.breaker import Breaker
from tests.support.clock import Clock


def test_a_breaker_is_closed_until_a_failure() -> None:
    breaker = Breaker(1.0, Clock())

    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_a_failure_opens_the_breaker_for_a_pause() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()

    assert not breaker.allows()
    clock.now += 0.999
    assert not breaker.allows()


def test_after_the_pause_one_call_probes() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()
    clock.now += 1.0

    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_a_failed_probe_opens_the_breaker_again() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 0.5
    breaker.failed()

    clock.now += 0.9
    assert not breaker.allows()
    clock.now += 0.1
    assert breaker.allows()


def test_a_probe_that_never_ends_is_replaced() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()

    clock.now += 1.0
    assert [breaker.allows() for _ in range(2)] == [True, False]
