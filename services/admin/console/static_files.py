"""The console's script, style and icon. Their addresses change with their content."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "htmx.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_YEAR = "public, max-age=31536000, immutable"


@cache
def _content(name: str) -> bytes:
    return (files("services.admin.console") / "static" / name).read_bytes()


@cache
def asset_address(name: str) -> str:
    return f"/console/static/{sha256(_content(name)).hexdigest()[:12]}/{name}"


async def show_file(request: Request) -> Response:
    """An older address gets today's content."""
    name = request.path_params["name"]
    if name not in _TYPES:
        raise HTTPException(404)
    return Response(_content(name), media_type=_TYPES[name], headers={"cache-control": _YEAR})
