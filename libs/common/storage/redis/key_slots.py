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


def key_of(command: Sequence[Any]) -> str | bytes | None:
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
    """From the text in the key's first braces, or from the whole key if there is none."""
    name = key.encode() if isinstance(key, str) else key
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    # CRC-16 (XMODEM), as the specification of Redis Cluster says.
    return binascii.crc_hqx(name, 0) % SLOTS
