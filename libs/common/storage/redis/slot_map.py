"""Which node of a cluster serves which slots, as one of them says."""

from typing import Any

import msgspec

Address = tuple[str, int]
# What stands for the host of the node that answers.
_SAME_HOST = (None, b"", b"?")


class SlotMap(msgspec.Struct, frozen=True, kw_only=True):
    """`ranges` are pairs of slots, both included, each with its master.

    A node that is cut off from the others knows that its map may be old (`is_ok` is false), and
    `epoch` is the time of the latest change that a node knows of.
    """

    ranges: tuple[tuple[int, int, Address], ...]
    is_ok: bool
    epoch: int


def read_slot_map(slots: Any, info: bytes, address: Address) -> SlotMap:
    """From the answers to CLUSTER SLOTS and CLUSTER INFO of the node at `address`."""
    facts = dict(line.split(":", 1) for line in info.decode().split("\r\n") if ":" in line)
    return SlotMap(
        # The master comes first; its replicas do not matter.
        ranges=tuple((start, end, _address(node, address)) for start, end, node, *_ in slots),
        is_ok=facts.get("cluster_state") == "ok",
        epoch=int(facts.get("cluster_current_epoch", 0)),
    )


def _address(node: Any, address: Address) -> Address:
    host, port, *_ = node
    return address[0] if host in _SAME_HOST else host.decode(), port
