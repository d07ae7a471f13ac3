"""`GET /health` shows that the process runs, `GET /ready` that it can work."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from libs.common.web.json import json_response

Check = Callable[[], Awaitable[Any]]
_CHECK_TIMEOUT_S = 3.0


def live() -> Response:
    """Shows that the event loop runs."""
    return json_response({"status": "ok"})


async def ready(checks: Mapping[str, Check]) -> Response:
    """200 if every check passes, else 503. The body has each check's result."""
    results = await asyncio.gather(*(_result(check) for check in checks.values()))
    named_results = dict(zip(checks, results, strict=True))
    ok = all(result == "ok" for result in results)
    status = "ok" if ok else "unavailable"
    return json_response({"status": status, "checks": named_results}, status=200 if ok else 503)


async def _result(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except TimeoutError:
        return f"no answer within {_CHECK_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 - any error is the check's result
        return f"{type(error).__name__}: {error}"[:300]
    return "ok"
