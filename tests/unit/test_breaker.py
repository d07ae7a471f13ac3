"""The breaker: nobody waits for a server that is away, and one at a time looks whether it is."""

from libs.common.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_lets_everybody_through_until_a_failure() -> None:
    breaker = Breaker(1.0, Clock())

    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_after_a_failure_nobody_tries_until_the_pause_is_over() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()

    assert not breaker.allows()
    clock.now += 0.999
    assert not breaker.allows()


def test_after_the_pause_one_tries_and_the_others_wait_for_its_word() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()
    clock.now += 1.0

    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]


def test_one_that_fails_again_closes_it_again() -> None:
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


def test_one_that_never_comes_back_is_replaced() -> None:
    clock = Clock()
    breaker = Breaker(1.0, clock)
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()

    clock.now += 1.0
    assert [breaker.allows() for _ in range(2)] == [True, False]
