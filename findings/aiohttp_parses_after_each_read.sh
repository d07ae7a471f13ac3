#!/usr/bin/env bash
# aiohttp 3.14.5: a client's read runs the HTTP parser once more, on no bytes, though nothing was paused.
#
# A stream that falls behind is paused; taking bytes from its buffer resumes it. Expected: that a read which
# finds nothing paused is cheap, as most are. Seen: `StreamReader` asks to resume whenever its buffer is
# nearly empty, and `BaseProtocol.resume_reading` then feeds `b""` to the parser and resumes the transport
# without a look at whether either was paused: once for each event of a stream, and for a body that is read
# in small pieces once for each piece below the low-water mark (64 KiB). Here 80 pieces of 256 bytes take 81
# calls of the parser, 80 of them empty. A subclass whose `resume_reading` returns unless `_reading_paused`
# reads the same bytes with one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check aiohttp==3.14.5
cd "$folder"
venv/bin/python - <<'PY'
import asyncio

import aiohttp
from aiohttp import client_proto, web

PIECE, PIECES = 256, 80
BODY = bytes(PIECE * PIECES)


class Counting(client_proto.ResponseHandler):
    parsed = empty = paused = 0

    def data_received(self, data: bytes) -> None:
        Counting.parsed += 1
        Counting.empty += not data
        super().data_received(data)

    def pause_reading(self) -> None:
        Counting.paused += 1
        super().pause_reading()


class Careful(Counting):
    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:
            super().resume_reading(resume_parser)


async def read_with(protocol: type[Counting], url: str) -> tuple[bytes, int, int]:
    Counting.parsed = Counting.empty = Counting.paused = 0
    connector = aiohttp.TCPConnector()
    connector._factory = lambda: protocol(asyncio.get_running_loop())
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
        # All of it has arrived before the first piece is read.
        while not answer.content.is_eof():
            await asyncio.sleep(0.01)
        got = b"".join([piece async for piece in answer.content.iter_chunked(PIECE)])
    assert Counting.paused == 0
    return got, Counting.parsed - Counting.empty, Counting.empty


async def main() -> None:
    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=BODY)

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    seen = {}
    for protocol in (Counting, Careful):
        got, parsed, empty = await read_with(protocol, url)
        assert got == BODY
        seen[protocol.__name__] = empty
        print(f"{protocol.__name__}: {PIECES} pieces, {parsed} calls of the parser with bytes, {empty} without")
    await runner.cleanup()
    assert seen["Counting"] >= PIECES and seen["Careful"] == 0, "it has changed"


asyncio.run(main())
PY
