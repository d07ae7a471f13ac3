"""The yardstick: a Starlette handler that relays with aiohttp and does nothing else."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


class RelayState(TypedDict):
    session: aiohttp.ClientSession


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[RelayState]:
    connector = aiohttp.TCPConnector(limit=1000)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield RelayState(session=session)


async def relay(request: Request) -> Response:
    upstream = await request.state.session.post(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        data=await request.body(),
        headers={"authorization": "Bearer bench", "content-type": "application/json"},
    )
    if upstream.content_type == "text/event-stream":
        return StreamingResponse(upstream.content.iter_any(), media_type="text/event-stream")
    async with upstream:
        return Response(await upstream.read(), upstream.status, media_type="application/json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    app = Starlette(
        routes=[Route("/v1/chat/completions", relay, methods=["POST"])], lifespan=_lifespan
    )
    uvicorn.run(
        app, port=parser.parse_args().port, loop="uvloop", http="httptools", access_log=False
    )


if __name__ == "__main__":
    main()
