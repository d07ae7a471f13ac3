"""The gateway as a process of its own, as a deployment starts it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import msgspec

from deploy.local.children import tied
from libs.common.settings import Secret
from services.gateway.settings import Settings
from tests.servers import HOST, free_port
from tests.service.gateway.stage import Client, connected
from tests.support.polling import eventually


def environment_of(settings: Settings) -> dict[str, str]:
    """As a deployment would write them."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    revealed = {
        name.upper(): value.reveal() if isinstance(value, Secret) else str(value)
        for name, value in values.items()
        if value is not None
    }
    return {**os.environ, **revealed}


@asynccontextmanager
async def gateway_process(
    settings: Settings, log: Path
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """`python -m services.gateway`, ready; killed at the end if it still runs."""
    port = free_port()
    settings = msgspec.structs.replace(settings, gateway_host=HOST, gateway_port=port)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *tied((sys.executable, "-W", "error", "-m", "services.gateway")),
            env=environment_of(settings),
            stdout=output,
            stderr=output,
        )
    try:
        async with connected(f"http://{HOST}:{port}") as client:

            async def is_ready() -> bool:
                assert process.returncode is None, f"see {log}"
                with suppress(httpx2.TransportError):
                    return (await client.http.get("/ready")).status_code == 200
                return False

            await eventually(is_ready)
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
