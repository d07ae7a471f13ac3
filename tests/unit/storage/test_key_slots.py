"""Which slot a command goes to, and which node a map of slots names for it."""

import pytest
from redis.crc import key_slot

from libs.common.storage.redis.key_slots import first_key, is_script, slot_of
from libs.common.storage.redis.slot_map import read_slot_map


@pytest.mark.parametrize(
    "key",
    ["foo", "{a}b", "b{a}", "{}b", "a{", "}{a}", "{{a}}b", "a{b}{c}", "gateway:{1}:{acme}", "ä"],
)
def test_slots_are_as_redis_py_has_them(key: str) -> None:
    assert slot_of(key) == slot_of(key.encode()) == key_slot(key.encode())


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "a"), "a"),
        (("MGET", b"a", "b"), b"a"),
        (("EVALSHA", "0" * 40, 2, "a", "b", "c"), "a"),
        (("EVAL", "return 1", 0, "no key"), None),
        (("PING",), None),
        (("CLUSTER SLOTS",), None),
        (("SCRIPT", "LOAD", "return 1"), None),
        (("PUBLISH", "channel", "message"), None),
        (("MEMORY USAGE", "a"), "a"),
    ],
)
def test_the_first_key_of_a_command(command: tuple[str | int, ...], key: str | None) -> None:
    assert first_key(command) == key
    assert is_script(command) == ("EVAL" in str(command[0]))


def test_a_map_of_slots() -> None:
    replica = [b"10.0.0.9", 6379, b"id", []]
    slots = [
        [0, 99, [b"10.0.0.1", 6379, b"id", []], replica],
        [100, 16383, [None, 6380, b"id", []]],
    ]
    info = b"cluster_state:ok\r\ncluster_current_epoch:7\r\n"
    slot_map = read_slot_map(slots, info, ("seed", 7000))
    assert slot_map.ranges == ((0, 99, ("10.0.0.1", 6379)), (100, 16383, ("seed", 6380)))
    assert (slot_map.is_ok, slot_map.epoch) == (True, 7)
    assert not read_slot_map([], b"cluster_state:fail\r\n", ("seed", 7000)).is_ok
