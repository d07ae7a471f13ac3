"""A TCP proxy of one port that holds back what it carries, in either direction, as a network does.

    python -m tests.support.slow_link PORT TARGET DELAY_MS

It is a process of its own: a test cuts the link by killing it, and mends it by starting it again.
"""

import asyncio
import sys
from contextlib import suppress

_HOST = "127.0.0.1"
_CHUNK = 65_536


async def serve(port: int, target: int, delay_s: float) -> None:
    """Runs until cancelled."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(_HOST, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_carry(reader, back, delay_s), _carry(there, writer, delay_s))

    async with await asyncio.start_server(join, _HOST, port) as server:
        await server.serve_forever()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            # Timers of one delay fire in the order in which they were set.
            loop.call_later(delay_s, writer.write, data)
    loop.call_later(delay_s, writer.close)


def main() -> None:
    port, target = map(int, sys.argv[1:3])
    asyncio.run(serve(port, target, float(sys.argv[3]) / 1000))


if __name__ == "__main__":
    main()
