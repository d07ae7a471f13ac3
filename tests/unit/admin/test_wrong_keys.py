"""Wrong keys are counted by their source and altogether, for a minute, in bounded memory."""

import pytest

from services.admin.wrong_keys import ALTOGETHER, PER_SOURCE, WINDOW_S, WrongKeys
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wrong_keys(clock: Clock) -> WrongKeys:
    return WrongKeys(clock)


def test_a_source_is_slowed_down_until_its_window_ends(wrong_keys: WrongKeys, clock: Clock) -> None:
    assert all(wrong_keys.count("10.0.0.1").wait_s is None for _ in range(PER_SOURCE))
    clock.now += 20.5
    slowed = [wrong_keys.count("10.0.0.1") for _ in range(3)]
    assert [verdict.wait_s for verdict in slowed] == [40, 40, 40]
    assert [throttle.notable for throttle in slowed] == [True, False, False]
    assert wrong_keys.count("10.0.0.2").wait_s is None
    clock.now += WINDOW_S - 20.5
    assert wrong_keys.count("10.0.0.1").wait_s is None


def test_many_sources_are_slowed_down_together(wrong_keys: WrongKeys, clock: Clock) -> None:
    for number in range(ALTOGETHER):
        assert wrong_keys.count(f"10.0.0.{number}").wait_s is None
    assert wrong_keys.count("10.0.1.0").wait_s == WINDOW_S
    clock.now += WINDOW_S
    assert wrong_keys.count("10.0.1.1").wait_s is None


def test_an_ipv6_network_is_one_source(wrong_keys: WrongKeys) -> None:
    for number in range(PER_SOURCE):
        assert wrong_keys.count(f"2001:db8::{number:x}").wait_s is None
    assert wrong_keys.count("2001:db8::ffff:1:2:3").wait_s is not None
    assert wrong_keys.count("2001:db8:0:1::1").wait_s is None


@pytest.mark.parametrize("host", ["unknown", "", "::ffff:10.0.0.1"])
def test_any_string_is_a_source(wrong_keys: WrongKeys, host: str) -> None:
    for _ in range(PER_SOURCE):
        assert wrong_keys.count(host).wait_s is None
    assert wrong_keys.count(host).wait_s is not None
    assert wrong_keys.count("::ffff:10.0.0.2").wait_s is None


def test_sources_are_bounded(wrong_keys: WrongKeys, clock: Clock) -> None:
    for _ in range(PER_SOURCE):
        wrong_keys.count("10.9.9.9")
    clock.now += WINDOW_S / 2
    for number in range(3_000):
        wrong_keys.count(f"10.1.{number // 256}.{number % 256}")
    assert len(wrong_keys._by_source) <= 1024
