"""The shared clock: Redis' time decides, and what an answer takes to arrive does not."""

import pytest

from services.gateway.calls.clock import SharedClock


class Machine:
    """This machine's own clock."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms * 1_000_000


@pytest.mark.parametrize("wrong_by_ms", [-86_400_000, -101, 101, 86_400_000])
def test_a_wrong_clock_is_corrected(wrong_by_ms: int) -> None:
    machine = Machine(1_000_000_000 + wrong_by_ms)
    clock = SharedClock(machine)
    clock.adjust(1_000_000_000, asked_ms=clock.now_ms())
    assert clock.now_ms() == 1_000_000_000
    machine.ms += 5
    assert clock.now_ms() == 1_000_000_005


@pytest.mark.parametrize("machine_ms", [0, 2_000_000_000])
def test_a_clock_that_jumps_is_corrected_again(machine_ms: int) -> None:
    machine = Machine(1_000_000_000)
    clock = SharedClock(machine)
    clock.adjust(1_000_000_000, asked_ms=clock.now_ms())
    machine.ms = machine_ms
    clock.adjust(1_000_000_500, asked_ms=clock.now_ms())
    assert clock.now_ms() == 1_000_000_500


@pytest.mark.parametrize("redis_ms", [1_000_000_000, 1_000_001_500, 1_000_003_000])
def test_a_slow_answer_does_not_move_the_clock(redis_ms: int) -> None:
    """It was true at some moment in between."""
    machine = Machine(1_000_000_000)
    clock = SharedClock(machine)
    asked_ms = clock.now_ms()
    machine.ms += 3_000
    clock.adjust(redis_ms, asked_ms=asked_ms)
    assert clock.now_ms() == 1_000_003_000
