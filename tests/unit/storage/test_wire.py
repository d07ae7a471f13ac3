"""When a connection writes: its callers' commands of one tick are as few writes as may be."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from libs.common.storage.redis.wire import Wire


class RecordingTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        return


def open_wire(transport: RecordingTransport, *, writes_at_once: bool) -> Wire:
    reader, writer = SimpleNamespace(at_eof=lambda: False), SimpleNamespace(transport=transport)
    connection = cast("Any", SimpleNamespace(_reader=reader, _writer=writer))
    return Wire(connection, 3.0, writes_at_once=writes_at_once)


@pytest.mark.parametrize(
    ("writes_at_once", "writes"), [(True, [b"a", b"bc"]), (False, [b"abc"])], ids=["at once", "not"]
)
async def test_commands_of_a_tick_leave_together(writes_at_once: bool, writes: list[bytes]) -> None:
    transport = RecordingTransport()
    wire = open_wire(transport, writes_at_once=writes_at_once)
    answers = asyncio.gather(*(wire.send(command, 1) for command in (b"a", b"b", b"c")))
    await asyncio.sleep(0)
    assert transport.writes == writes
    wire.data_received(b"+A\r\n+B\r\n+C\r\n")
    assert await answers == [b"A", b"B", b"C"]
    answer = wire.send(b"d", 1)
    await asyncio.sleep(0)
    assert transport.writes == [*writes, b"d"]
    wire.data_received(b"+D\r\n")
    assert await answer == b"D"
