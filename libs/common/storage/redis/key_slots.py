"""The slot of a Redis Cluster in which a command's key lies.

A command goes to the node that serves its first key's slot; all its keys have to lie there.
"""

import binascii
from collections.abc import Sequence
from typing import Any

SLOTS = 16_384
# By their first words; of all others the first argument is a key.
_KEYLESS = frozenset(
    {
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "FLUSHDB"),
        *("HELLO", "INFO", "PING", "PUBLISH", "PUBSUB", "SCAN", "SCRIPT", "TIME", "WAIT"),
    }
)
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
# EVALSHA, the hash, the number of keys.
_FIRST_KEY_OF_SCRIPT = 3


def first_key(command: Sequence[Any]) -> str | bytes | None:
    """The command's first key; None if it has none."""
    name = command[0]
    if name in _SCRIPTS:
        return command[_FIRST_KEY_OF_SCRIPT] if int(command[2]) else None
    if name in _KEYLESS or name.partition(" ")[0] in _KEYLESS:
        return None
    key: str | bytes = command[1]
    return key


def is_script(command: Sequence[Any]) -> bool:
    return command[0] in _SCRIPTS


def slot_of(key: str | bytes) -> int:
    return _slot_of_tag(_tag_of(key))


def slots_of(commands: Sequence[Sequence[Any]]) -> set[int]:
    """Of their first keys. Those of a transaction mostly share one tag."""
    tags = {_tag_of(key) for command in commands if (key := first_key(command)) is not None}
    return {_slot_of_tag(tag) for tag in tags}


def _slot_of_tag(tag: str | bytes) -> int:
    # CRC-16 (XMODEM), as the specification of Redis Cluster says.
    return binascii.crc_hqx(tag.encode() if isinstance(tag, str) else tag, 0) % SLOTS


def _tag_of(key: str | bytes) -> str | bytes:
    """The text in the key's first braces, or the whole key if there is none."""
    tag: str | bytes
    if isinstance(key, str):
        tag, closing, _ = key.partition("{")[2].partition("}")
        return tag if tag and closing else key
    tag, end, _ = key.partition(b"{")[2].partition(b"}")
    return tag if tag and end else key
