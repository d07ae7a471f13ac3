"""Finds the path of the API that a request means, whatever its base URL adds or lacks.

Clients append their paths to a base URL, which people write with `/v1`, without it, or
with a slash at its end.
"""

from services.gateway.formats import FORMATS

_API_NAMES = {"models", "budget", "usage"} | {row.path.split("/")[2] for row in FORMATS.values()}
_MAX_SHOWN = 128
_SERVED = ", ".join(
    [*(row.path for row in FORMATS.values()), "/v1/models", "/v1/budget", "/v1/usage"]
)


def canonical(path: str) -> str:
    """`//v1/chat/completions`, `/chat/completions/`, `/v1/v1/models`: as the routes have them."""
    rest = path.strip("/")
    below_v1 = False
    while rest == "v1" or rest.startswith("v1/"):
        below_v1, rest = True, rest[2:].lstrip("/")
    if below_v1 or rest.partition("/")[0] in _API_NAMES:
        return f"/v1/{rest}"
    return f"/{rest}"


def not_served(path: str) -> str:
    """The message of a 404: the gateway lacks the path, or the base URL is wrong."""
    return (
        f"The gateway does not serve '{path[:_MAX_SHOWN]}'. It serves {_SERVED}. Set the client's "
        "base URL to the gateway's address, with /v1 at its end or without."
    )
