"""`/health`, `/ready` and `/metrics`, which need no key."""

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from libs.common.storage.mongo.driver import PyMongoError
from libs.common.web.health import live, ready
from services.admin.state import State


async def show_health(_: Request[State]) -> Response:
    return live()


async def show_ready(request: Request[State]) -> Response:
    return await ready(request.state["checks"])


async def show_metrics(request: Request[State]) -> Response:
    state = request.state
    with suppress(PyMongoError):
        state["metrics"].dead_letters.set(await state["dead_letters"].count())
    return state["metrics"].response()
